"""A search that goes on: after its driver died, beside another one, with a larger budget, stopping early."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from dehazing.pipeline.lease import Owner, lease
from dehazing.pipeline.store import Store
from studies import journal, searcher
from studies.budget import is_whole
from studies.scale import Scale
from studies.searcher import JournalSearch
from studies.study import Study
from tests.searching import ELSEWHERE, UNET, ending, executions, finish, made, trials


def test_a_trial_that_was_stopped_early_is_never_chosen(tmp_path: Path) -> None:
    study = Study(**{**vars(UNET), "num_trials": 6, "scheduler": "median", "grace_epochs": 2})
    search = made(tmp_path, study)
    for name in "abcd":
        config = search.suggest(name)
        for epoch in (1, 2, 3):
            assert not search.reported(name, {"epoch": epoch, "val/psnr": 20.0 + epoch})
        finish(search, name, config, 23.0)
    search.suggest("e")
    assert not search.reported("e", {"epoch": 1, "val/psnr": 1.0}), "the grace"
    again = made(tmp_path, study)  # a new driver goes on from what the trials have reported
    again.suggest("e")
    assert not again.reported("e", {"epoch": 1, "val/psnr": 1.0})
    assert again.reported("e", {"epoch": 2, "val/psnr": 2.0})
    again.on_trial_complete("e", {"epoch": 2})
    assert ending(again, 4) == (TrialState.PRUNED, "stopped early at epoch 2")
    assert again._observer.endings == {4: ("PRUNED", "stopped early at epoch 2")} and not again._observer.upstreams
    chosen = journal.chosen(study, trials(again))
    assert chosen is not None and chosen.number == 0


def test_successive_halving_goes_on_after_a_restart(tmp_path: Path) -> None:
    study = Study(**{**vars(UNET), "num_trials": 8, "scheduler": "asha", "grace_epochs": 1})
    stopped = []
    for name in "abcdefgh":  # a new driver for every trial
        search = made(tmp_path, study)
        config = search.suggest(name)
        if search.reported(name, {"epoch": 1, "val/psnr": 30.0 - ord(name)}):
            stopped.append(name)
            search.on_trial_complete(name, {"epoch": 1})
        else:
            finish(search, name, config)
    assert "a" not in stopped and len(stopped) >= 5, "each is worse than those before"


def test_a_spent_budget_ends_the_search_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    search = made(tmp_path)
    for number in range(4):
        finish(search, str(number), search.suggest(str(number)))
    assert search.suggest("more") == Searcher.FINISHED
    larger = made(tmp_path, Study(**{**vars(UNET), "num_trials": 6}))
    assert larger.suggest("a") is not None and len(trials(larger)) == 5


def test_what_nobody_works_on_is_taken_over_under_its_own_number(tmp_path: Path) -> None:
    """A driver is killed with one trial done and two under way: nothing lost, nothing doubled, nothing left running."""
    code = (
        "import os, sys, pathlib\n"
        "from tests.searching import finish, made\n"
        f"search = made(pathlib.Path({str(tmp_path)!r}))\n"
        "configs = [search.suggest(name) for name in 'abc']\n"
        "finish(search, 'a', configs[0])\n"
        "os._exit(9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=False)
    assert killed.returncode == 9
    search = made(tmp_path)
    before = {trial.number: trial.params for trial in trials(search)}
    assert len(before) == 3
    for name in ("d", "e", "f"):
        finish(search, name, search.suggest(name))
    assert search.suggest("g") == Searcher.FINISHED
    assert [trial.state for trial in trials(search)] == [TrialState.COMPLETE] * 4
    undisturbed = made(tmp_path / "other")
    for number, trial in enumerate(trials(search)):
        undisturbed.suggest(str(number))
        assert trials(undisturbed)[number].params == trial.params == before.get(number, trial.params)


def test_an_epoch_that_is_repeated_after_an_interruption_is_reported_once(tmp_path: Path) -> None:
    epoch = {"val/psnr": 20.0, "epoch": 1}
    study = replace(UNET, scheduler="median")
    search = made(tmp_path, study)
    search.suggest("a")
    search.reported("a", epoch)
    again = made(tmp_path, study)
    again.suggest("b")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again.reported("b", epoch)
        again.reported("b", {**epoch, "epoch": 2})
    assert trials(again)[0].intermediate_values == {1: 20.0, 2: 20.0}


def test_without_a_scheduler_no_epoch_costs_a_write(tmp_path: Path) -> None:
    search = made(tmp_path)
    search.suggest("a")
    before = (tmp_path / "optuna" / "journal.log").read_bytes()
    assert not search.reported("a", {"val/psnr": 20.0, "epoch": 1})
    assert (tmp_path / "optuna" / "journal.log").read_bytes() == before


def test_what_another_driver_works_on_is_left_to_it_and_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searcher, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(searcher, "LOOK_AT_MOST", 0)
    study = Study(**{**vars(UNET), "num_trials": 2})
    search = made(tmp_path, study)
    theirs = search.suggest("a")
    assert not Owner(**ELSEWHERE).is_gone()
    with lease(Store(tmp_path), "drivers/theirs"):
        search._agenda.asked[0].trial.set_user_attr("owner", {"process": ELSEWHERE, "driver": "drivers/theirs"})
        again = made(tmp_path, study)
        ours = again.suggest("b")
        assert executions(ours) != executions(theirs)
        finish(again, "b", ours)
        assert again.suggest("c") is None, "the choice is among all trials, so theirs is waited for"
    assert again.suggest("c") == theirs, "their driver is gone, wherever it was"
    finish(again, "c", theirs)
    assert again.suggest("d") == Searcher.FINISHED
    search.on_trial_complete("a", {"failed": "too late", "done": True})
    assert ending(search)[0] == TrialState.COMPLETE, "whoever comes back finds it told"


def test_hours_end_the_asking_over_all_runs(tmp_path: Path) -> None:
    study = Study(**{**vars(UNET), "max_gpu_hours": 1.0})
    on_a_gpu = Scale(num_gpus=1.0)
    search = made(tmp_path, study, scale=on_a_gpu)
    config = search.suggest("a")
    work_for(search, "a", 1800.0)
    search._budget.note(at_once=True)
    search._agenda.asked[0].trial.set_user_attr("owner", {"process": ELSEWHERE, "driver": "drivers/a"})
    other = made(tmp_path, study, scale=on_a_gpu)  # another driver, which works as long
    with lease(Store(tmp_path), "drivers/a"):
        assert other.suggest("b") is not None
    work_for(other, "b", 1801.0)
    other._budget.note(at_once=True)
    search._budget.note(at_once=True)
    finish(search, "a", config)
    assert search._budget.exhausted() == other._budget.exhausted() == "max_gpu_hours: 1"
    assert len(trials(search)) == 2
    assert search._budget._own()[1] >= 1800.0, "ended or not, it counts"
    assert made(tmp_path, study)._budget.left() == 0 and is_whole(study, search._ot_study) is False
    finish(other, "b", other._trial_config | {"executions": {e.address: asdict(e) for e in other._work["b"][0]}})
    assert made(tmp_path, study).suggest("c") == Searcher.FINISHED and is_whole(study, search._ot_study)
    assert made(tmp_path, Study(**{**vars(UNET), "max_gpu_hours": 2.0})).suggest("d") is not None


def work_for(search: JournalSearch, work: str, seconds: float) -> None:
    since_s, num_gpus = search._budget._begun[work]
    search._budget._begun[work] = since_s - seconds, num_gpus


def test_failed_trials_are_tried_again_when_that_is_asked_for(tmp_path: Path) -> None:
    study = Study(**{**vars(UNET), "num_trials": 2})
    search = made(tmp_path, study)
    bad = search.suggest("a")
    (execution,) = executions(bad)
    Store(tmp_path).remember_failure(execution.address, "RuntimeError: a broken driver")
    search.on_trial_complete("a", {"failed": "RuntimeError: a broken driver", "done": True})
    finish(search, "b", search.suggest("b"))
    assert made(tmp_path, study).suggest("c") == Searcher.FINISHED
    assert journal.retry(search._ot_study, Store(tmp_path)) == 1
    assert journal.retry(search._ot_study, Store(tmp_path)) == 0
    again = made(tmp_path, study)
    assert again.suggest("c") == bad
    finish(again, "c", bad)
    assert again.suggest("d") == Searcher.FINISHED
    assert [trial.state.name for trial in trials(again)] == ["FAIL", "COMPLETE", "COMPLETE"]


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp"])
def test_nothing_is_drawn_twice_after_a_restart(tmp_path: Path, sampler: str) -> None:
    study = Study(**{**vars(UNET), "sampler": sampler, "num_trials": 6})
    for driver in range(3):
        search = made(tmp_path, study)
        for number in range(2):
            finish(search, str(number), search.suggest(str(number)), 30.0 + driver + number)
    assert len({tuple(trial.params.values()) for trial in trials(search)}) == 6


def test_a_last_epoch_is_never_stopped_as_its_result_is_published(tmp_path: Path) -> None:
    study = Study(**{**vars(UNET), "num_trials": 6, "scheduler": "median", "grace_epochs": 1})
    search = made(tmp_path, study)
    for name in "abcd":
        config = search.suggest(name)
        search.reported(name, {"epoch": 3, "num_epochs": 3, "val/psnr": 30.0})
        finish(search, name, config)
    config = search.suggest("e")
    assert not search.reported("e", {"epoch": 3, "num_epochs": 3, "val/psnr": 1.0})
    finish(search, "e", config, 1.0)
    assert ending(search, 4)[0] == TrialState.COMPLETE


def test_points_are_queued_once_even_if_the_first_driver_was_killed_over_it(tmp_path: Path) -> None:
    points = ({"lr": 1e-3}, {"lr": 2e-3})
    study = Study(**{**vars(UNET), "points": points})
    found = journal.open_study(journal.storage(tmp_path), "study", study)
    found.enqueue_trial(dict(points[0]))  # killed before it was noted
    for _ in range(2):
        journal.enqueue(journal.open_study(journal.storage(tmp_path), "study", study), study)
    search = made(tmp_path, study)
    for name in "abc":
        search.suggest(name)
    assert [trial.params["lr"] for trial in trials(search)][:2] == [1e-3, 2e-3]
    assert trials(search)[2].params["lr"] not in (1e-3, 2e-3)
