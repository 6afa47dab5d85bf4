"""`plan` says what would run and what it costs, refuses what would fail later, and leaves no trace."""

from __future__ import annotations

import argparse
import json
import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import tifffile
import yaml
from optuna.trial import TrialState

from studies import asking, journal
from studies.__main__ import main
from studies.executions import pipeline_of, space_of
from studies.investigation import Investigation
from studies.planning.expected import expected
from studies.planning.parameters import Parameter, parameters_of
from studies.planning.plan import plan_of
from studies.reading import read_studies
from studies.resources import Resources

SMOKE = ["--scale", "smoke", "--no-timing"]


def plan(capsys: pytest.CaptureFixture[str], root: Path, *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["plan", *words, "--storage", str(root)])
    out, err = capsys.readouterr()
    return code, out, err


def planned(capsys: pytest.CaptureFixture[str], root: Path, *words: str) -> dict[str, Any]:
    code, out, err = plan(capsys, root, *words, "--json")
    assert code == 0, err
    return json.loads(out)


def test_it_counts_and_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "results"
    code, out, err = plan(capsys, root, *SMOKE, "--set", "degrader.space.lambda_cyc.high=50")
    assert code == 0 and err == "" and not root.exists()
    assert "lambda_cyc         0.1 … 50.0 (log)" in out
    assert "search: at most 15 distinct executions, of which the store has 0" in out
    assert "confirmation: 18 executions on the seeds 1, 2" in out
    assert "unknown: no past executions, and nothing was timed" in out
    assert "warning: with 2 seeds every verdict is `undecided`" in out


def test_json_has_all_of_it_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = planned(capsys, tmp_path / "results", *SMOKE)
    degrader, iterative = (next(s for s in found["studies"] if s["name"] == name) for name in ("degrader", "iterative"))
    assert degrader["question"].startswith("Which degrader") and degrader["sampler"] == "tpe"
    assert degrader["executions"] == {
        "distinct": 2,
        "exact": False,
        "in_store": 0,
        "failed_before": 0,
        "made_before": 0,
        "to_do": 2,
    }
    assert iterative["executions"]["exact"] and not degrader["settled"]
    assert {p["name"]: p["only_with"] for p in iterative["space"]}["alpha/steepness"] == {
        "parameter": "alpha/kind",
        "choices": ["sigmoid"],
    }
    assert found["search"] == {"distinct": 15, "exact": False, "in_store": 0}
    assert found["confirmation"]["distinct"] == 18 and not found["confirmation"]["known"]
    assert found["forecast"]["unknown"] == 33 and found["disk"]["free_bytes"] > 0
    assert found["resources"]["device"] == "cpu" and found["series"]["size_px"] == [64, 64]


def test_conditions_are_found_by_sampling() -> None:
    parameters = {p.name: p for p in parameters_of(read_studies(["iterative"], "quickstart")["iterative"])}
    assert parameters["variant"].condition == ()
    assert parameters["reference"].condition == ("variant", ("combine_both", "combine_z", "combine_z0"))
    assert parameters["refine_level"].condition == ("variant", ("refine_R", "refine_both"))
    assert parameters["alpha/exponent"].condition == ("alpha/kind", ("power",))
    assert parameters["num_refinements"].record()["kind"] == "whole"


@pytest.mark.parametrize(
    ("domain", "value", "end"),
    [
        ({"low": 0.1, "high": 10.0, "log": True}, 9.9, "high"),
        ({"low": 0.1, "high": 10.0, "log": True}, 0.101, "low"),
        ({"low": 0.1, "high": 10.0, "log": True}, 1.0, ""),
        ({"low": 0.0, "high": 1.0}, 0.5, ""),
        ({"low": 1.0, "high": 1.0}, 1.0, ""),
        ({"choices": (1, 2, 3)}, 1, ""),
    ],
)
def test_the_ends_of_a_range(domain: dict[str, Any], value: float, end: str) -> None:
    kind = "choice" if "choices" in domain else "real"
    assert Parameter("name", kind, domain, ()).at_an_end(value) == end


@pytest.mark.parametrize(
    ("domain", "kind", "num"),
    [
        ({"low": 1, "high": 4}, "whole", 4),
        ({"low": 0.0, "high": 1.0, "step": 0.1}, "real", 11),
        ({"low": 0.0, "high": 1.0}, "real", math.inf),
        ({"choices": ("a", "b")}, "choice", 2),
    ],
)
def test_how_many_values_a_parameter_has(domain: dict[str, Any], kind: str, num: float) -> None:
    assert Parameter("name", kind, domain, ()).num_values == num


def investigation(root: Path, *words: str) -> Investigation:
    parser = argparse.ArgumentParser()
    asking.add_names(parser)
    asking.add_investigation(parser)
    return asking.investigation(parser.parse_args([*words, "--scale", "smoke", "--storage", str(root)]))


def settings(**entries: Any) -> list[str]:
    """--set unet.KEY=VALUE of every entry."""
    return [word for key, value in entries.items() for word in ("--set", f"unet.{key}={json.dumps(value)}")]


def test_auto_is_resolved_for_reading_but_not_in_the_search(tmp_path: Path) -> None:
    asked = investigation(tmp_path, "unet", *settings(sampler="auto"))
    more = investigation(tmp_path, "unet", *settings(sampler="auto", num_trials=40))
    assert asked.key(asked.studies["unet"]) == more.key(more.studies["unet"])
    asked.open(asked.studies["unet"]).ask()
    (study,) = plan_of(asked, timing=False)["studies"]
    assert asked.studies["unet"].sampler == "auto" != study["sampler"]


def test_a_grid_of_two_points_is_two_executions_however_many_trials(tmp_path: Path) -> None:
    space = {"lr": {"choices": [1e-3, 2e-3]}, "weight_decay": {"choices": [0.0]}, "share_at_T": {"choices": [0.5]}}
    asked = investigation(tmp_path, "unet", *settings(sampler="grid", num_trials=8, space=space))
    found = plan_of(asked, timing=False)
    numbers = found["studies"][0]["executions"]
    assert numbers == {"distinct": 2, "exact": True, "in_store": 0, "failed_before": 0, "made_before": 0, "to_do": 2}
    assert found["search"]["exact"] and found["confirmation"] is None


OWN = """
question: Which learning rate?
kind: unet
objective: {metric: val/psnr, mode: max}
scales: {smoke: {num_trials: 2, config: {base: 8, depth: 2, patch_px: 32, num_epochs: 2}}}
"""


@pytest.mark.parametrize(("sampler", "distinct"), [("random", 2), ("tpe", 4)])
def test_what_two_studies_share_is_counted_once(sampler: str, distinct: int, tmp_path: Path) -> None:
    for name in ("two", "three"):
        (tmp_path / f"{name}.yaml").write_text(f"{OWN}sampler: {sampler}\n")
    files = [str(tmp_path / f"{name}.yaml") for name in ("two", "three")]
    found = plan_of(investigation(tmp_path / "results", *files), timing=False)
    assert found["search"] == {"distinct": distinct, "exact": sampler == "random", "in_store": 0}
    assert found["forecast"]["executions"] == distinct
    numbers = found["studies"][1]["executions"]
    assert (numbers["made_before"], numbers["to_do"]) == (4 - distinct, distinct - 2) and numbers["distinct"] == 2


def test_of_a_very_large_budget_a_part_is_simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studies.planning.expected.MOST_SIMULATED", 10)
    asked = investigation(tmp_path, "unet", *settings(sampler="random", num_trials=99_999_999, max_hours=1.0))
    publish_past(asked, 2.0)
    found = plan_of(asked, timing=False)
    assert found["search"] == {"distinct": 99_999_999, "exact": False, "in_store": 0}
    assert found["forecast"]["executions"] == 99_999_999 and found["forecast"]["wall_s"] == pytest.approx(3600)
    space = {"lr": {"choices": [1e-3, 2e-3]}, "weight_decay": {"choices": [0.0]}, "share_at_T": {"choices": [0.5]}}
    few = plan_of(investigation(tmp_path, "unet", *settings(sampler="grid", num_trials=10**8, space=space)), False)
    assert few["search"]["distinct"] == 2 and few["search"]["exact"]


def publish_past(asked: Investigation, seconds: float) -> None:
    """An execution of the study unet that differs in what is searched alone."""
    (study,) = asked.studies.values()
    suggestion = {"lr": 5e-3, "weight_decay": 1e-5, "share_at_T": 0.99}
    (execution,) = pipeline_of(study, asked.series, 7, {}, suggestion)
    how = {"seconds": seconds, "device": "cpu", "num_threads": asked.scale.num_cpus}
    metrics = {"final": {}, "history": [], **how}
    contents = {"config.json": execution.record(), "metrics.json": metrics}
    asked.store.publish(execution.address, {name: json.dumps(c).encode() for name, c in contents.items()})


@pytest.mark.parametrize("key", ["max_hours", "max_gpu_hours"])
def test_hours_that_are_spent_are_not_left(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = investigation(tmp_path, "unet", *settings(sampler="random", num_trials=3, **{key: 1.0}))
    publish_past(asked, 2000.0)
    resources = Resources("cpu", asked.scale.num_cpus, 1.0, 1)  # a GPU's hours, and figures of a CPU
    monkeypatch.setattr("studies.planning.plan.resources_of", lambda *_: resources)
    assert plan_of(asked, timing=False)["forecast"]["wall_s"] == pytest.approx(3600)
    found = asked.open(asked.studies["unet"])
    found.add_trial(optuna.trial.create_trial(state=TrialState.FAIL))
    found.set_user_attr("spent/a", {"wall_s": 1000.0, "gpu_s": 1000.0})
    found.set_user_attr("spent/b", {"wall_s": 1600.0, "gpu_s": 1600.0})
    again = plan_of(asked, timing=False)
    assert again["forecast"]["wall_s"] == again["forecast"]["gpu_s"] == pytest.approx(1000)
    assert any(f"`{key}` = 1, of which 0.72 are spent, ends it before" in warning for warning in again["warnings"])


def test_what_failed_before_is_not_counted_as_work(tmp_path: Path) -> None:
    asked = investigation(tmp_path, "unet", *settings(sampler="random", num_trials=3))
    first = expected(asked, asked.recorded(), {"unet": parameters_of(asked.studies["unet"])})["unet"].targets[0]
    asked.store.remember_failure(first.address, "FloatingPointError: planted")
    found = plan_of(asked, timing=False)
    assert found["studies"][0]["executions"]["failed_before"] == 1 and found["forecast"]["executions"] == 2
    assert any("1 execution failed before, and will not be tried: FloatingPointError" in w for w in found["warnings"])


def test_recorded_trials_are_not_asked_again(tmp_path: Path) -> None:
    asked = investigation(tmp_path, "unet", *settings(sampler="random", num_trials=4))
    study = asked.studies["unet"]
    found = asked.open(study)
    before = expected(asked, asked.recorded(), {"unet": parameters_of(study)})["unet"]
    suggested = []
    for execution in before.targets[:3]:
        trial = found.ask()
        space_of(study)(trial)
        trial.set_user_attr("fingerprint", execution.fingerprint)
        suggested.append(trial.params)
    found.tell(0, state=TrialState.FAIL)
    found.tell(1, 1.0)
    after = expected(asked, asked.recorded(), {"unet": parameters_of(study)})["unet"]
    assert after.exact and before.most == after.most == 4 and after.num_ended == 2
    assert [e.address for e in after.targets] == [e.address for e in before.targets], "the simulation is the search"
    assert len(after.to_do) == 2 and after.suggestions[0]["lr"] == suggested[2]["lr"]


def test_a_failed_trial_that_is_tried_again_frees_its_place(tmp_path: Path) -> None:
    asked = investigation(tmp_path, "unet", *settings(sampler="random", num_trials=2))
    study = asked.studies["unet"]
    before = expected(asked, asked.recorded(), {"unet": parameters_of(study)})["unet"]
    found = asked.open(study)
    for execution in before.targets:
        trial = found.ask()
        space_of(study)(trial)
        trial.set_user_attr("fingerprint", execution.fingerprint)
        trial.set_user_attr("executions", json.dumps([asdict(execution)]))
    found.tell(0, state=TrialState.FAIL)
    found.tell(1, 1.0)
    parameters = {"unet": parameters_of(study)}
    assert expected(asked, asked.recorded(), parameters)["unet"].to_do == []
    journal.retry(found, asked.store)
    again = expected(asked, asked.recorded(), parameters)["unet"]
    assert [execution.address for execution in again.to_do] == [before.targets[0].address]


def test_a_best_trial_at_the_end_of_its_range_is_warned_about(tmp_path: Path) -> None:
    asked = investigation(tmp_path, "unet")
    found = asked.open(asked.studies["unet"])
    ranges = {p.name: p.domain for p in parameters_of(asked.studies["unet"])}
    distributions = {
        name: optuna.distributions.FloatDistribution(d["low"], d["high"], log=d.get("log", False))
        for name, d in ranges.items()
    }
    params = {"share_at_T": 0.3, "lr": ranges["lr"]["high"], "weight_decay": 1e-4}
    found.add_trial(
        optuna.trial.create_trial(
            value=1.0,
            params=params,
            distributions=distributions,  # type: ignore[arg-type]
            user_attrs={"fingerprint": "0123456789abcdef"},
        )
    )
    warnings = plan_of(asked, timing=False)["warnings"]
    assert any("`lr` = 0.008, at the high end of its range" in warning for warning in warnings)
    assert not any("`share_at_T`" in warning for warning in warnings)


JOINT = """
question: Does it help to search both at once?
kind: restorer
objective: {metric: val/psnr, mode: max}
sampler: SAMPLER
joint:
  hvae: {config: {width: 8, num_epochs: 1}, space: {beta: {choices: [0.001, 0.01]}, lr: 0.001}}
space: {share_at_T: {choices: [0.25, 0.5]}, lr: {choices: [0.001, 0.002]}, lambda_decoder: 0.0, latent_noise: 0.0}
scales: {smoke: {num_trials: 40, config: {width: 8, patch_px: 32, num_epochs: 1}}}
"""


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_joint_search_makes_each_upstream_once(sampler: str, tmp_path: Path) -> None:
    (tmp_path / "both.yaml").write_text(JOINT.replace("SAMPLER", sampler))
    (study,) = plan_of(investigation(tmp_path / "results", str(tmp_path / "both.yaml")), timing=False)["studies"]
    assert study["executions"]["distinct"] == 2 + 8 and study["executions"]["exact"] == (sampler == "random")
    assert {cost["kind"] for cost in study["costs"]} == {"hvae", "restorer"} and study["joint"] == ["hvae"]
    assert "hvae/beta" in [parameter["name"] for parameter in study["space"]]


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


def test_json_has_no_infinities(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    constraint = "unet.constraints=[{metric: val/psnr, at_most: .inf}]"
    code, out, err = plan(capsys, tmp_path, "unet", *SMOKE, "--json", "--set", constraint)
    assert code == 0, err
    assert json.loads(out)["studies"][0]["constraints"] == [{"metric": "val/psnr", "at_most": None, "at_least": None}]


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


def test_a_joint_study_is_not_in_the_confirmation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "both.yaml").write_text(JOINT.replace("SAMPLER", "random"))
    found = planned(capsys, tmp_path / "results", "all", str(tmp_path / "both.yaml"), *SMOKE)
    assert "both" not in found["confirmation"]["instances"] and found["confirmation"]["distinct"] == 18
    assert any("`both` searches several stages jointly" in warning for warning in found["warnings"])


def test_it_reads_the_files_of_a_dataset_and_stores_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = np.random.default_rng(0).integers(100, 4000, (300, 80))
    levels = np.stack([image, 2 * image, 3 * image]).astype(np.uint16)
    tifffile.imwrite(tmp_path / "cell.tif", levels, photometric="minisblack")
    own = {"kind": "pinhole_series", "path": "cell.tif", "axes": "CYX", "pinholes": [4, 1, 2], "guard_px": 8}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({**own, "pinhole_unit": "au"}))
    words = ["--dataset", str(tmp_path / "own.yaml"), "--no-timing"]
    code, out, err = plan(capsys, tmp_path / "results", *words)
    assert code == 0, err
    assert "note: The levels are sorted by pinhole, from [4, 1, 2] to [1, 2, 4]." in out
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_it_times_what_nothing_is_known_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = planned(capsys, tmp_path / "results", "--scale", "smoke")
    assert not (tmp_path / "results").exists()
    costs = [cost for study in found["studies"] for cost in study["costs"]] + found["confirmation"]["costs"]
    assert all(
        cost["source"].startswith("timed") and cost["seconds"] > 0 and cost["published_bytes"] > 0 for cost in costs
    )
    (loops,) = found["studies"][-1]["costs"]
    assert found["studies"][-1]["name"] == "iterative" and loops["source"].endswith(f"{loops['num']} together")
    assert found["forecast"]["unknown"] == 0 and found["forecast"]["wall_s"] > 0 and found["forecast"]["gpu_s"] == 0
    assert found["disk"]["needed_bytes"] > found["series"]["cost"]["published_bytes"] > 0
