"""The executions that a search will ask for: counted once, without those that are made, recorded or have failed."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from optuna.trial import TrialState

from studies import journal
from studies.executions import space_of
from studies.planning.expected import expected
from studies.planning.parameters import parameters_of
from studies.planning.plan import plan_of
from tests.planning import JOINT, OWN, investigation, publish_past, settings


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


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_joint_search_makes_each_upstream_once(sampler: str, tmp_path: Path) -> None:
    (tmp_path / "both.yaml").write_text(JOINT.replace("SAMPLER", sampler))
    (study,) = plan_of(investigation(tmp_path / "results", str(tmp_path / "both.yaml")), timing=False)["studies"]
    assert study["executions"]["distinct"] == 2 + 8 and study["executions"]["exact"] == (sampler == "random")
    assert {cost["kind"] for cost in study["costs"]} == {"hvae", "restorer"} and study["joint"] == ["hvae"]
    assert "hvae/beta" in [parameter["name"] for parameter in study["space"]]
