"""The command line: what is wrong with an input is said in one sentence, with exit code 2 and no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from studies.__main__ import COMMANDS, main

DATASETS = Path(__file__).parents[1] / "studies" / "datasets"


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(words)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake that is overlooked must not train for a quarter of an hour before its test fails."""

    def prepare(self: object) -> None:
        pytest.fail("the mistake was overlooked, and the run began")

    monkeypatch.setattr("studies.investigation.Investigation.search_all", prepare)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pln"], "no command `pln`; the nearest is `plan`"),
        (["plan", "degradr"], "no study `degradr`; the nearest is `degrader`"),
        (["run", "degradr"], "no study `degradr`; the nearest is `degrader`"),
        (["run", "--scale", "smok"], "no scale `smok`; the nearest is `smoke`"),
        (["run", "--set", "degrader.space.lambda_cy.high=5"], "the nearest is `lambda_cyc`"),
        (["run", "--set", "degrader.space.lambda_cyc.hihg=5"], "nearest valid key is `high`"),
        (["run", "--set", "degrader.config.widht=5"], "nearest valid key is `width`"),
        (["run", "--set", "degrader.config.width=wide"], "`width` must be a whole number"),
        (["run", "--set", "degrader.config.domain=latent"], "`domain` must be one of latents, pixels"),
        (["run", "--set", "degrader.space.anchor.choices=[z_0]"], "`anchor` must be one of none, z_T, z_t"),
        (["run", "--set", "degrader.config.anchor=z_T"], "narrow its range instead: space.anchor.choices=[z_T]"),
        (["run", "--set", "degrader.sampler=tpx"], "`sampler` must be one of tpe"),
        (["run", "--set", "degrader.nm_trials=5"], "nearest valid key is `num_trials`"),
        (["run", "--set", "scale.num_seds=5"], "nearest valid key is `num_seeds`"),
        (["run", "--set", "dataset.sed=5"], "`seed`"),
        (["run", "--set", "degrader"], "KEY=VALUE"),
        (["run", "--dataset", "missing.yaml"], "missing.yaml"),
        (["run", "--experiment", "a/b"], "--experiment must be a plain name"),
        (["run", "--experiment", "stages"], "--experiment must be a plain name"),
        (["run", "--scal", "smoke"], "nrecognized arguments: --scal"),
        (["plan", "--port", "3"], "nrecognized arguments: --port"),
        (["simulate"], "--out"),
    ],
)
def test_a_mistake_gets_one_sentence(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = said(capsys, *words)
    assert code == 2 and message in err, err
    assert out == "" and "Traceback" not in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [], "nothing was begun"


@pytest.mark.parametrize("text", ["kind: [", "", "kind: simulatd", "kind: simulated\nfeild_px: 3", "- 1"])
def test_a_bad_dataset_gets_one_sentence(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    code, _, err = said(capsys, "plan", "--dataset", str(path))
    assert code == 2 and "own.yaml" in err and err.count("\n") == 1


def test_a_bad_study_file_gets_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "degrader.yaml"
    path.write_text(yaml.safe_dump({"spase": {}}))
    code, _, err = said(capsys, "plan", str(path))
    assert code == 2 and "unknown key `spase`; the nearest valid key is `space`" in err


def test_a_results_folder_that_cannot_be_written_gets_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    code, _, err = said(capsys, "run", "--scale", "smoke", "--storage", str(tmp_path / "file" / "results"))
    assert code == 2 and "must be writable" in err and err.count("\n") == 1


@pytest.mark.parametrize("command", ["report", "ui"])
def test_a_folder_without_results_gets_one_sentence(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    code, _, err = said(capsys, command, "--storage", str(tmp_path))
    assert code == 2 and "`python -m studies run all` makes one" in err


def test_list_names_every_study_with_its_question(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "list")
    assert code == 0
    assert "degrader: Which degrader" in out and "quickstart" in out


def test_plan_counts_and_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "results"
    code, out, _ = said(
        capsys, "plan", "--scale", "smoke", "--storage", str(root), "--set", "degrader.space.lambda_cyc.high=50"
    )
    assert code == 0 and not root.exists()
    assert "lambda_cyc         0.1 … 50.0 (log)" in out
    assert "search: at most 13 distinct executions, of which the store has 0" in out
    assert "confirmation: 16 executions on the seeds 1, 2" in out


def test_status_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "status", "--scale", "smoke", "--storage", str(tmp_path / "results"))
    assert code == 0 and "unet       0/2 complete" in out and "not written yet" in out


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "--help")
    assert code == 0 and all(name in out for name in COMMANDS)
