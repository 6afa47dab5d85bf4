"""The journal's searcher: every ending is told as what it was."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.lease import Owner
from studies import journal
from studies.study import Constraint, Study
from tests.searching import JOINT, TWO, UNET, ending, executions, finish, made, publish, trials


def test_a_suggestion_is_a_complete_execution(tmp_path: Path) -> None:
    search = made(tmp_path)
    config = search.suggest("a")
    (execution,) = executions(config)
    (trial,) = trials(search)
    assert execution.kind == "unet" and execution.config["lr"] == trial.params["lr"]
    assert config["store"] == str(tmp_path) and config["device"] == "cpu"
    assert trial.user_attrs["fingerprint"] == execution.fingerprint
    assert journal.pipeline(trial) == [execution]


def test_a_role_has_the_threads_that_the_study_gives_it_and_else_those_of_a_trial(tmp_path: Path) -> None:
    study = replace(JOINT, joint={"hvae": replace(JOINT.joint["hvae"], num_threads=3)}, num_trials=1)
    search, found = made(tmp_path, study), {}
    for name in "ab":
        config = search.suggest(name)
        (execution,) = executions(config)
        found[execution.kind] = config["num_threads"]
        finish(search, name, config)
    assert found == {"hvae": 3, "restorer": 1}


@pytest.mark.parametrize(
    ("final", "state", "reason"),
    [
        ({"val/psnr": math.nan}, TrialState.FAIL, "the objective val/psnr is nan"),
        ({"val/psnr": math.inf}, TrialState.FAIL, "the objective val/psnr is inf"),
        ({}, TrialState.FAIL, "the objective val/psnr is missing"),
        ({"val/psnr": 30.0}, TrialState.COMPLETE, None),
    ],
)
def test_the_objective_decides_what_a_finished_trial_is(
    tmp_path: Path, final: dict[str, Any], state: TrialState, reason: str | None
) -> None:
    search = made(tmp_path)
    (execution,) = executions(search.suggest("a"))
    publish(tmp_path, execution, **final)
    search.on_trial_complete("a", {"done": True})
    assert ending(search) == (state, reason)


def test_a_failure_is_told_with_its_reason(tmp_path: Path) -> None:
    search = made(tmp_path)
    search.suggest("a")
    search.on_trial_complete("a", {"failed": "FloatingPointError: the loss", "done": True})
    assert ending(search) == (TrialState.FAIL, "FloatingPointError: the loss")


def test_a_suggestion_that_the_stage_refuses_is_a_failed_trial_and_the_study_goes_on(tmp_path: Path) -> None:
    search = made(tmp_path)
    pipeline_of_study = search._make_pipeline

    def misspelt_once(suggestion: Mapping[str, Any]) -> Sequence[Execution]:
        return pipeline_of_study({**suggestion, **({} if len(trials(search)) > 1 else {"lrr": 1e-3})})

    search._make_pipeline = misspelt_once
    assert search.suggest("a") is not None and len(trials(search)) == 2
    state, reason = ending(search)
    assert state == TrialState.FAIL and reason is not None and "unknown key `lrr`" in reason


def test_a_full_disk_stops_the_search_and_spends_no_budget(tmp_path: Path) -> None:
    search = made(tmp_path)
    first = search.suggest("a")
    search.on_trial_complete("a", {"stop": "The results folder is full.", "done": True})
    assert search.stop == "The results folder is full." and search.suggest("b") == Searcher.FINISHED
    assert [trial.state for trial in trials(search)] == [TrialState.RUNNING]
    assert made(tmp_path).suggest("c") == first


def test_constraints_decide_what_may_be_chosen(tmp_path: Path) -> None:
    study = Study(**{**vars(UNET), "num_trials": 3, "constraints": (Constraint("val/psnr_ri", at_least=20.0),)})
    search = made(tmp_path, study)
    for name, (psnr, other) in {"a": (40.0, 10.0), "b": (30.0, 25.0), "c": (50.0, math.nan)}.items():
        (execution,) = executions(search.suggest(name))
        publish(tmp_path, execution, **{"val/psnr": psnr, "val/psnr_ri": other})
        search.on_trial_complete(name, {"done": True})
    chosen = journal.chosen(study, trials(search))
    assert chosen is not None and chosen.number == 1
    assert trials(search)[0].constraints == {"val/psnr_ri >= 20.0": 10.0}
    assert ending(search, 2) == (TrialState.FAIL, "the constraint val/psnr_ri is nan")


def test_a_damaged_result_ends_the_search_with_its_sentence(tmp_path: Path) -> None:
    search = made(tmp_path)
    (execution,) = executions(search.suggest("a"))
    publish(tmp_path, execution, **{"val/psnr": 30.0})
    (tmp_path / "stages" / execution.address / "metrics.json").write_text("{}")
    search.on_trial_complete("a", {"done": True})
    assert "metrics.json" in search.stop and search.suggest("b") == Searcher.FINISHED
    assert ending(search)[0] == TrialState.RUNNING


def test_other_directions_than_recorded_are_refused(tmp_path: Path) -> None:
    made(tmp_path)
    with pytest.raises(ValueError, match="was begun with the directions"):
        journal.open_study(journal.storage(tmp_path), "study", TWO)


def test_two_objectives_are_chosen_from_by_the_stated_rule() -> None:
    def trial(ceiling: float, smoothness: float) -> optuna.trial.FrozenTrial:
        return optuna.trial.create_trial(values=[ceiling, smoothness])

    study = optuna.create_study(directions=["maximize", "maximize"])
    for values in [(40.0, 0.5), (39.2, 0.8), (38.0, 0.95), (39.5, 0.7)]:
        study.add_trial(trial(*values))
    chosen = journal.chosen(TWO, study.trials)
    assert chosen is not None and chosen.number == 1, "the smoothest within 1 dB of the best ceiling"
    assert journal.chosen(TWO, []) is None


def test_an_owner_is_what_asdict_gives_back() -> None:
    assert Owner(**asdict(Owner.myself())) == Owner.myself()


def test_what_ends_without_a_result_is_not_handed_out_for_ever(tmp_path: Path) -> None:
    search = made(tmp_path, Study(**{**vars(UNET), "num_trials": 1}))
    for number in range(4):
        assert search.suggest(str(number)) != Searcher.FINISHED
        search.on_trial_complete(str(number), {"done": True})
    assert search.suggest("more") == Searcher.FINISHED
    state, reason = ending(search)
    assert state == TrialState.FAIL and reason is not None and "the code must not change" in reason
