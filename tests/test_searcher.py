"""The journal's searcher: every ending is told as what it was, and what was under way is handed out again."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.lease import Owner
from studies import journal
from studies.executions import pipeline_of, space_of
from studies.samplers import make_sampler
from studies.searcher import JournalSearch, num_taken
from studies.study import Choose, Objective, Study

UNET = Study("unet", "Does it work?", "unet", (Objective("val/psnr", "max"),), num_trials=4, sampler="random")
TWO = Study(
    "hvae",
    "Which?",
    "hvae",
    (Objective("val/ceiling", "max"), Objective("val/smoothness", "max")),
    num_trials=4,
    choose=Choose("val/ceiling", 1.0),
)


def searcher(root: Path, study: Study = UNET) -> JournalSearch:
    sampler = make_sampler(study.sampler, 0, study.num_trials)
    found = journal.open_study(journal.storage(root), "study", study, sampler)

    def make(suggestion: Mapping[str, Any]) -> Execution:
        return pipeline_of(study, "series", 0, {}, suggestion)[-1]

    return JournalSearch(study, found, space_of(study), make, {"root": str(root)})


def finished(psnr: float) -> dict[str, Any]:
    return {"finished": True, "val/psnr": psnr, "epoch": 2, "seconds": 1.0, "device": "cpu"}


def test_a_suggestion_is_a_complete_execution(tmp_path: Path) -> None:
    config = searcher(tmp_path).suggest("a")
    execution = Execution(**config["execution"])
    assert execution.kind == "unet" and execution.config["lr"] == config["params"]["lr"]
    assert config["number"] == 0 and config["root"] == str(tmp_path)
    trial = journal.open_study(journal.storage(tmp_path), "study", UNET).trials[0]
    assert trial.user_attrs["fingerprint"] == execution.fingerprint
    assert Execution(**json.loads(trial.user_attrs["execution"])) == execution


@pytest.mark.parametrize(
    ("result", "state", "reason"),
    [
        (finished(math.nan), TrialState.FAIL, "the objective val/psnr is nan"),
        (finished(math.inf), TrialState.FAIL, "the objective val/psnr is inf"),
        ({"finished": True, "epoch": 2}, TrialState.FAIL, "the objective val/psnr is missing"),
        (
            {"failed": "FloatingPointError: the loss", "finished": False},
            TrialState.FAIL,
            "FloatingPointError: the loss",
        ),
        ({"finished": False, "val/psnr": 99.0, "epoch": 1}, TrialState.PRUNED, "stopped early at epoch 1"),
        (finished(30.0), TrialState.COMPLETE, None),
    ],
)
def test_every_ending_is_told_as_what_it_was(
    tmp_path: Path, result: dict[str, Any], state: TrialState, reason: str | None
) -> None:
    search = searcher(tmp_path)
    search.suggest("a")
    search.on_trial_complete("a", result)
    (trial,) = search._ot_study.trials
    assert trial.state == state
    assert trial.user_attrs.get("reason") == reason


def test_a_lost_process_spends_no_budget(tmp_path: Path) -> None:
    search = searcher(tmp_path)
    params = search.suggest("a")["params"]
    search.on_trial_complete("a", None, error=True)
    assert search.lost == [0] and search.num_left == 3, "not at once, as it might be lost again and again"
    again = searcher(tmp_path)
    assert again.num_left == 4
    config = again.suggest("b")
    assert (config["number"], config["params"]) == (0, params)


def test_a_full_disk_stops_the_search_and_spends_no_budget(tmp_path: Path) -> None:
    search = searcher(tmp_path)
    search.suggest("a")
    search.on_trial_complete("a", {"unwritable": "The results folder is full.", "finished": False})
    assert search.unwritable == "The results folder is full." and search.suggest("b") == Searcher.FINISHED
    assert [trial.state for trial in search._ot_study.trials] == [TrialState.RUNNING]
    again = searcher(tmp_path)
    assert again.num_left == 4 and again.suggest("c")["number"] == 0


def test_a_trial_that_was_stopped_early_is_never_chosen(tmp_path: Path) -> None:
    search = searcher(tmp_path)
    for name in "abc":
        search.suggest(name)
    search.on_trial_result("a", {"finished": False, "val/psnr": 99.0, "epoch": 1, "training_iteration": 1})
    search.on_trial_complete("a", {"finished": False, "val/psnr": 99.0, "epoch": 1})
    search.on_trial_complete("b", finished(30.0))
    search.on_trial_complete("c", finished(31.0))
    chosen = journal.chosen(UNET, search._ot_study.trials)
    assert chosen is not None and chosen.number == 2


def test_a_spent_budget_ends_the_search_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    search = searcher(tmp_path)
    for number in range(4):
        search.suggest(str(number))
        search.on_trial_complete(str(number), finished(30.0))
    assert search.suggest("more") == Searcher.FINISHED
    assert num_taken(search._ot_study.trials) == 4
    larger = searcher(tmp_path, Study(**{**vars(UNET), "num_trials": 6}))
    assert larger.num_left == 2 and larger.suggest("a")["number"] == 4


def test_what_nobody_works_on_is_handed_out_again_under_its_own_number(tmp_path: Path) -> None:
    """A driver is killed with one trial done and two under way: nothing lost, nothing doubled, nothing left running."""
    code = (
        "import os, sys, pathlib\n"
        "from tests.test_searcher import searcher, finished\n"
        f"search = searcher(pathlib.Path({str(tmp_path)!r}))\n"
        "for name in 'abc': search.suggest(name)\n"
        "search.on_trial_complete('a', finished(30.0))\n"
        "os._exit(9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=False)
    assert killed.returncode == 9
    before = {
        trial.number: trial.params for trial in journal.open_study(journal.storage(tmp_path), "study", UNET).trials
    }
    search = searcher(tmp_path)
    for name in ("d", "e", "f"):
        config = search.suggest(name)
        assert config["params"] == before.get(config["number"], config["params"])
        search.on_trial_complete(name, finished(30.0))
    assert search.suggest("g") == Searcher.FINISHED
    assert [trial.state for trial in search._ot_study.trials] == [TrialState.COMPLETE] * 4
    undisturbed = searcher(tmp_path / "other")
    for number, trial in enumerate(search._ot_study.trials):
        assert undisturbed.suggest(str(number))["params"] == trial.params


def test_an_epoch_that_is_repeated_after_an_interruption_is_reported_once(tmp_path: Path) -> None:
    epoch = {"finished": False, "val/psnr": 20.0, "epoch": 1}
    search = searcher(tmp_path)
    search.suggest("a")
    search.on_trial_result("a", epoch)
    again = searcher(tmp_path)
    assert again.suggest("b")["number"] == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again.on_trial_result("b", epoch)
        again.on_trial_result("b", {**epoch, "epoch": 2})
    assert again._ot_study.trials[0].intermediate_values == {1: 20.0, 2: 20.0}


def test_what_another_driver_works_on_is_left_to_it(tmp_path: Path) -> None:
    search = searcher(tmp_path)
    search.suggest("a")
    elsewhere = {"host": "elsewhere", "pid": 1, "started_s": 0.0}
    assert not Owner(**elsewhere).is_gone()
    search._ot_trials["a"].set_user_attr("owner", elsewhere)
    again = searcher(tmp_path)
    assert again.num_left == 3 and again.suggest("b")["number"] == 1


def test_other_directions_than_recorded_are_refused(tmp_path: Path) -> None:
    searcher(tmp_path)
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
