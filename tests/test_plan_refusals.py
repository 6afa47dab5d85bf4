"""What would fail later is refused by `plan` with one sentence, and what another search has begun is told."""

from __future__ import annotations

import os
from pathlib import Path

import optuna
import pytest
import yaml

from studies import journal
from studies.__main__ import main
from studies.planning.plan import plan_of
from studies.reading import FOLDER
from tests.planning import OWN, SMOKE, investigation, plan, planned


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["unet", "--set", "unet.points=[{lrr: 0.001}]"], "lrr"),
        (["unet", "--set", "unet.points=[{lr: 7.0}]"], "lr: 7.0"),
        (["iterative", "--set", "iterative.points=[{alpha: {kind: linear}}]"], "alpha"),
        (["iterative", "--set", "iterative.points=[{variant: refine_G, reference: first}]"], "reference: first"),
        (["unet", "--set", "unet.space.lrr.high=1"], "`lrr`"),
        (["unet", "--set", "scale.num_gpus=1"], "needs a GPU (1 for each trial), but this machine has none"),
        (["unet", "--set", "scale.num_cpus=4096"], "needs 4096 CPUs, but this machine has"),
        (["unet", "--set", "unet.config.patch_px=128"], "`patch_px` must be at most the shorter side of an image"),
    ],
)
def test_what_would_fail_later_is_refused(
    words: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    code, out, err = plan(capsys, tmp_path / "results", *words, *SMOKE)
    assert code == 2 and message in err, err
    assert out == "" and err.count("\n") == 1 and not (tmp_path / "results").exists()


def test_a_space_that_cannot_be_pickled_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search_spaces.unet.space", lambda trial, ranges: trial.suggest_float("lr", 1e-4, 1e-3))
    code, _, err = plan(capsys, tmp_path / "results", "unet", *SMOKE)
    assert code == 2 and "pickled" in err


def test_other_directions_than_those_of_the_study_that_is_there_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = investigation(tmp_path, "unet")
    key = asked.key(asked.studies["unet"])
    optuna.create_study(storage=journal.storage(asked.root), study_name=key, direction="minimize")
    with pytest.raises(ValueError, match="was begun with the directions"):
        plan_of(asked, timing=False)


def test_a_search_that_goes_the_other_way_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "results"
    asked = investigation(root, "unet")
    asked.open(asked.studies["unet"]).ask()
    code, out, err = plan(capsys, root, "unet", *SMOKE)
    assert code == 0 and "another search" not in out, err
    other = ["--set", "unet.objective={metric: val/psnr, mode: min}"]
    code, out, err = plan(capsys, root, "unet", *SMOKE, *other)
    assert code == 2 and out == "" and "`objective` says minimize, but there is a search of unet with maximize" in err
    warnings = planned(capsys, root, "unet", *SMOKE, *other, "--set", "unet.config.base=12")["warnings"]
    assert [w for w in warnings if "this is another search: there is a search of unet with maximize" in w]


@pytest.mark.parametrize("command", ["plan", "status"])
def test_a_results_folder_that_cannot_be_made_is_refused(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("text")
    for place in ("file", "file/below/it"):
        assert main([command, "unet", "--scale", "smoke", "--storage", str(tmp_path / place)]) == 2
        assert f"--storage must be writable: a folder, or where one can be made, but {tmp_path / 'file'} is a file" in (
            capsys.readouterr().err
        )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    code, _, err = plan(capsys, tmp_path / "closed" / "results", "unet", *SMOKE)
    assert code == 2 and "--storage must be writable, but" in err


@pytest.mark.parametrize("assignment", ["max_hours=.inf", "max_gpu_hours=.inf", "max_hours=.nan"])
def test_hours_are_finite(assignment: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = plan(capsys, tmp_path, "unet", *SMOKE, "--json", "--set", f"unet.{assignment}")
    assert code == 2 and out == "" and f"`{assignment.split('=')[0]}" in err and "must" in err


def test_a_journal_with_an_entry_that_optuna_does_not_know_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = investigation(tmp_path, "unet")
    asked.open(asked.studies["unet"]).ask()
    with (tmp_path / "optuna" / "journal.log").open("a") as file:
        file.write('{"op_code": 99, "worker_id": "w"}\n')
    code, _, err = plan(capsys, tmp_path, "unet", *SMOKE)
    assert code == 2 and "journal.log cannot be read" in err and err.count("\n") == 1


@pytest.mark.parametrize("name", ["scale.yaml", "dataset.yaml", "all.yaml", "a.b.yaml"])
def test_a_file_that_set_could_not_address_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(OWN)
    code, _, err = plan(capsys, tmp_path / "results", str(tmp_path / name), *SMOKE)
    assert code == 2 and "a study is named after its file" in err


def test_two_files_of_one_name_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.yaml").write_text(OWN)
    first, second = str(tmp_path / "a" / "mine.yaml"), str(tmp_path / "b" / "mine.yaml")
    code, _, err = plan(capsys, tmp_path / "results", first, second, *SMOKE)
    assert code == 2 and "are both named `mine`" in err
    assert plan(capsys, tmp_path / "results", first, first, *SMOKE)[0] == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("degrader", "second"),
            "degrader.yaml: upstreams: all must share the latents of one HVAE, but `hvae` is that of",
        ),
        (("iterative", "second"), "iterative.yaml: upstreams: all must share"),
        (("degrader", "first"), ""),
    ],
)
def test_a_restorer_of_another_hvae_is_refused(
    words: tuple[str, str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two studies of HVAEs with the same groups, and a restorer of the second or the first."""
    shipped = {name: yaml.safe_load((FOLDER / f"{name}.yaml").read_text()) for name in ("hvae", "restorer")}
    (tmp_path / "second.yaml").write_text(yaml.safe_dump(shipped["hvae"]))
    own = {**shipped["restorer"], "upstreams": {"hvae": "second" if words[1] == "second" else "hvae"}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    files = [str(tmp_path / f"{name}.yaml") for name in ("second", "own")]
    code, out, err = plan(
        capsys, tmp_path / "results", words[0], *files, *SMOKE, "--set", f"{words[0]}.upstreams.restorer=own"
    )
    if not sentence:
        assert code == 0, err
        return
    assert code == 2 and out == "" and sentence in err and err.count("\n") == 1
    assert "`hvae`, and the restorer of `own` is trained on that of `second`" in err
    assert not (tmp_path / "results").exists()
