"""The journal's searcher: every ending is told as what it was, and what was under way is taken over."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.lease import Owner, lease
from dehazing.pipeline.store import Store
from studies import journal, searcher
from studies.agenda import Agenda, Asked
from studies.budget import Budget, is_whole
from studies.executions import pipeline_of, space_of
from studies.samplers import make_sampler
from studies.searcher import JournalSearch
from studies.study import Choose, Constraint, Joint, Objective, Study

UNET = Study("unet", "Does it work?", "unet", (Objective("val/psnr", "max"),), num_trials=4, sampler="random")
TWO = Study(
    "hvae",
    "Which?",
    "hvae",
    (Objective("val/ceiling", "max"), Objective("val/smoothness", "max")),
    num_trials=4,
    choose=Choose("val/ceiling", 1.0),
)
JOINT = Study(
    "both",
    "Which HVAE and which R?",
    "restorer",
    (Objective("val/psnr", "max"),),
    num_trials=4,
    sampler="grid",
    space={"share_at_T": 0.4, "lr": {"choices": [1e-3, 2e-3]}, "latent_noise": 0.0, "lambda_decoder": 0.0},
    joint={"hvae": Joint(space={"beta": {"choices": [0.01, 0.02]}, "lr": 1e-3})},
)


ELSEWHERE: dict[str, Any] = {"host": "elsewhere", "pid": 1, "started_s": 0.0}


class Told:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.endings: dict[int, tuple[str, str | None]] = {}
        self.epochs: list[int] = []
        self.num_worked = 0
        self.upstreams: list[tuple[str, str | None]] = []

    def begun(self, number: int, params: Mapping[str, Any], execution: Execution | None) -> None:
        """Every trial that ends has begun."""

    def epoch(self, numbers: Sequence[int], execution: Execution, result: Mapping[str, Any]) -> None:
        self.epochs += numbers

    def ended(self, trial: FrozenTrial, reason: str | None, metrics: Mapping[str, Any] | None) -> None:
        self.endings[trial.number] = (trial.state.name, reason)

    def built(self, execution: Execution, reason: str | None, metrics: Mapping[str, Any] | None) -> None:
        self.upstreams.append((execution.kind, reason))

    def worked(self, executions: Sequence[Execution], result: Mapping[str, Any], seconds: float) -> None:
        self.num_worked += 1


def made(root: Path, study: Study = UNET, slots: int = 8) -> JournalSearch:
    sampler = make_sampler(study.sampler, 0, study.num_trials)
    found = journal.open_study(journal.storage(root), "study", study, sampler)
    budget = Budget(study, found, root)

    def make(suggestion: Mapping[str, Any]) -> list[Execution]:
        return pipeline_of(study, "series", 0, {}, suggestion)

    return JournalSearch(study, found, space_of(study), make, Store(root), {"device": "cpu"}, Told(), budget, slots)


def executions(config: Mapping[str, Any]) -> list[Execution]:
    return [Execution.at(address, fields) for address, fields in config["executions"].items()]


def publish(root: Path, execution: Execution, **final: Any) -> None:
    record = {"final": final, "history": [], "seconds": 1.0, "device": "cpu"}
    Store(root).publish(execution.address, {"metrics.json": json.dumps(record).encode()})


def finish(search: JournalSearch, name: str, config: Mapping[str, Any], psnr: float = 30.0) -> None:
    for execution in executions(config):
        publish(search._store.root, execution, **{"val/psnr": psnr})
    search.on_trial_complete(name, {"done": True})


def trials(search: JournalSearch) -> list[FrozenTrial]:
    return search._ot_study.get_trials()


def ending(search: JournalSearch, number: int = 0) -> tuple[TrialState, str | None]:
    trial = trials(search)[number]
    return trial.state, trial.user_attrs.get("reason")


def test_a_suggestion_is_a_complete_execution(tmp_path: Path) -> None:
    search = made(tmp_path)
    config = search.suggest("a")
    (execution,) = executions(config)
    (trial,) = trials(search)
    assert execution.kind == "unet" and execution.config["lr"] == trial.params["lr"]
    assert config["store"] == str(tmp_path) and config["device"] == "cpu"
    assert trial.user_attrs["fingerprint"] == execution.fingerprint
    assert journal.pipeline(trial) == [execution]


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


def test_what_was_published_counts_even_if_the_process_was_lost_over_it(tmp_path: Path) -> None:
    search = made(tmp_path)
    (execution,) = executions(search.suggest("a"))
    publish(tmp_path, execution, **{"val/psnr": 30.0})
    search.on_trial_complete("a", None, error=True)
    assert ending(search)[0] == TrialState.COMPLETE


def test_a_lost_process_is_tried_again_but_not_for_ever(tmp_path: Path) -> None:
    search = made(tmp_path, Study(**{**vars(UNET), "num_trials": 1}))
    first = search.suggest("0")
    for number in range(4):
        search.failed(str(number), "the worker died")
        search.on_trial_complete(str(number), None, error=True)
        again = search.suggest(str(number + 1))
        assert again == first if number < 3 else again == Searcher.FINISHED
    assert ending(search) == (TrialState.FAIL, "its process was lost 4 times; the last time: the worker died")


def test_out_of_memory_is_tried_once_more_alone(tmp_path: Path) -> None:
    search = made(tmp_path)
    first, _ = search.suggest("a"), search.suggest("b")
    memory = {"failed": "OutOfMemoryError: CUDA out of memory", "out_of_memory": True, "done": True}
    search.on_trial_complete("a", memory)
    assert search.suggest("c") is None, "nothing starts while another one runs"
    search.on_trial_complete("b", {"failed": "x", "done": True})
    assert search.suggest("c") == first
    assert search.suggest("d") is None, "alone"
    search.on_trial_complete("c", memory)
    assert ending(search) == (TrialState.FAIL, "OutOfMemoryError: CUDA out of memory")
    assert Store(tmp_path).failure(executions(first)[0].address) == "OutOfMemoryError: CUDA out of memory"
    assert search.suggest("e") is not None


def test_a_full_disk_stops_the_search_and_spends_no_budget(tmp_path: Path) -> None:
    search = made(tmp_path)
    first = search.suggest("a")
    search.on_trial_complete("a", {"stop": "The results folder is full.", "done": True})
    assert search.stop == "The results folder is full." and search.suggest("b") == Searcher.FINISHED
    assert [trial.state for trial in trials(search)] == [TrialState.RUNNING]
    assert made(tmp_path).suggest("c") == first


def test_a_duplicate_is_answered_from_the_store_at_once(tmp_path: Path) -> None:
    study = Study(**{**vars(UNET), "space": {"lr": 1e-3, "share_at_T": 0.4, "weight_decay": {"choices": [0.1, 0.2]}}})
    search = made(tmp_path, study)
    num_executed = 0
    for number in range(4):
        config = search.suggest(str(number))
        if config == Searcher.FINISHED:
            break
        num_executed += 1
        finish(search, str(number), config)
    assert num_executed == len({trial.user_attrs["fingerprint"] for trial in trials(search)}) <= 2
    assert [trial.state for trial in trials(search)] == [TrialState.COMPLETE] * 4


def test_two_trials_under_way_with_one_execution_share_it(tmp_path: Path) -> None:
    study = Study(**{**vars(UNET), "num_trials": 2, "space": {"lr": 1e-3, "share_at_T": 0.4, "weight_decay": 0.1}})
    search = made(tmp_path, study)
    config = search.suggest("a")
    assert search.suggest("b") is None
    finish(search, "a", config, 31.0)
    assert [trial.values for trial in trials(search)] == [[31.0], [31.0]]
    assert search.suggest("b") == Searcher.FINISHED


def test_a_jointly_searched_upstream_is_made_once_and_waited_for_without_a_slot(tmp_path: Path) -> None:
    search = made(tmp_path, JOINT)
    handed: list[Execution] = []
    running: dict[str, Any] = {}
    for number in range(100):
        config = search.suggest(str(number))
        if config == Searcher.FINISHED:
            break
        if config is not None:
            running[str(number)] = config
            for execution in executions(config):
                there = Store(tmp_path)
                assert all(there.has(address) for address in execution.upstreams.values()), "never before its upstream"
                handed.append(execution)
        else:
            assert running, "it waits for something"
            name, work = running.popitem()
            finish(search, name, work)
    assert sorted(execution.kind for execution in handed) == ["hvae"] * 2 + ["restorer"] * 4
    assert len({execution.address for execution in handed}) == 6
    assert search._observer.upstreams == [("hvae", None)] * 2
    assert [trial.state for trial in trials(search)] == [TrialState.COMPLETE] * 4


def test_a_failed_upstream_fails_every_trial_that_needs_it_and_is_not_tried_again(tmp_path: Path) -> None:
    search = made(tmp_path, JOINT)
    config = search.suggest("a")
    (bad,) = executions(config)
    assert bad.kind == "hvae"
    Store(tmp_path).remember_failure(bad.address, "FloatingPointError: nan")
    search.on_trial_complete("a", {"failed": "FloatingPointError: nan", "done": True})
    for number in range(100):
        config = search.suggest(str(number))
        if config == Searcher.FINISHED:
            break
        assert bad not in executions(config)
        finish(search, str(number), config)
    failed = [trial for trial in trials(search) if trial.state == TrialState.FAIL]
    assert len(failed) == 2
    reason = f"hvae {bad.fingerprint}, which it builds on, failed: FloatingPointError: nan"
    assert {trial.user_attrs["reason"] for trial in failed} == {reason}
    again = made(tmp_path / "other", JOINT)
    Store(tmp_path / "other").remember_failure(bad.address, "FloatingPointError: nan")
    assert all(
        execution != bad for name in "abc" for execution in executions(again.suggest(name) or {"executions": {}})
    )


def test_what_somebody_else_makes_is_kept_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searcher, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(searcher, "LOOK_AT_MOST", 0)
    study = Study(**{**vars(UNET), "num_trials": 1})
    (wanted,) = executions(made(tmp_path / "other", study).suggest("a"))
    search = made(tmp_path, study)
    with lease(Store(tmp_path), wanted.address):
        assert search.suggest("a") is None
        publish(tmp_path, wanted, **{"val/psnr": 30.0})
    assert search.suggest("a") == Searcher.FINISHED
    assert ending(search)[0] == TrialState.COMPLETE


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
        "from tests.test_searcher import made, finish\n"
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
    search = made(tmp_path)
    search.suggest("a")
    search.reported("a", epoch)
    again = made(tmp_path)
    again.suggest("b")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again.reported("b", epoch)
        again.reported("b", {**epoch, "epoch": 2})
    assert trials(again)[0].intermediate_values == {1: 20.0, 2: 20.0}


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


def test_hours_end_the_asking_over_all_runs(tmp_path: Path) -> None:
    study = Study(**{**vars(UNET), "max_gpu_hours": 1.0})
    search = made(tmp_path, study)
    search._budget.gpus_per_trial = 1.0
    config = search.suggest("a")
    search._budget.worked(1800.0)
    search._budget.note(at_once=True)
    search._agenda.asked[0].trial.set_user_attr("owner", {"process": ELSEWHERE, "driver": "drivers/a"})
    other = made(tmp_path, study)  # another driver, which works as long
    other._budget.gpus_per_trial = 1.0
    with lease(Store(tmp_path), "drivers/a"):
        assert other.suggest("b") is not None
    other._budget.worked(1801.0)
    other._budget.note(at_once=True)
    search._budget.note(at_once=True)
    finish(search, "a", config)
    assert search._budget.exhausted() == other._budget.exhausted() == "max_gpu_hours: 1"
    assert len(trials(search)) == 2
    assert made(tmp_path, study)._budget.left() == 0 and is_whole(study, search._ot_study) is False
    finish(other, "b", other._trial_config | {"executions": {e.address: asdict(e) for e in other._work["b"][0]}})
    assert made(tmp_path, study).suggest("c") == Searcher.FINISHED and is_whole(study, search._ot_study)
    assert made(tmp_path, Study(**{**vars(UNET), "max_gpu_hours": 2.0})).suggest("d") is not None


def test_a_batch_holds_as_many_trials_as_a_slots_share(tmp_path: Path) -> None:
    upstreams = {role: f"{role}/x" for role in ("unet", "hdn", "hvae", "restorer", "degrader")}
    study = Study("loops", "Which?", "iterative", (Objective("val/gap_db", "max"),), 10, sampler="random", batch=8)
    found = journal.open_study(journal.storage(tmp_path), "study", study, make_sampler("random", 0, 10))

    def make(suggestion: Mapping[str, Any]) -> list[Execution]:
        return pipeline_of(study, "series", 0, upstreams, suggestion)

    budget = Budget(study, found, tmp_path)
    search = JournalSearch(study, found, space_of(study), make, Store(tmp_path), {}, Told(), budget, 2)
    works = [search.suggest("a"), search.suggest("b")]
    sizes = [len(work["executions"]) for work in works]
    assert sum(sizes) <= 10 and max(sizes) == 5, sizes
    for name, work in zip("ab", works, strict=True):
        for execution in executions(work):
            publish(tmp_path, execution, **{"val/gap_db": -1.0})
        search.on_trial_complete(name, {"done": True})
    assert search.suggest("c") == Searcher.FINISHED
    assert [trial.state for trial in trials(search)] == [TrialState.COMPLETE] * 10


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


def test_a_batch_never_mixes_networks(tmp_path: Path) -> None:
    """`bridge` needs no degrader, so it can share with a loop on either of two; those two cannot share."""
    both = {role: f"{role}/x" for role in ("unet", "hdn", "hvae", "restorer")}
    study = Study("loops", "Which?", "iterative", (Objective("val/gap_db", "max"),), 3, sampler="random", batch=3)

    def loop(variant: str, degrader: str) -> Execution:
        upstreams = {**both, "degrader": degrader}
        return pipeline_of(study, "series", 0, upstreams, {"variant": variant})[-1]

    agenda = Agenda(Store(tmp_path))
    found = optuna.create_study()
    for execution in (loop("bridge", "degrader/x"), loop("direct", "degrader/x"), loop("direct", "degrader/y")):
        agenda.add(Asked(found.ask(), [execution]))
    batches = [agenda.start(3), agenda.start(3)]
    assert [len(batch) for batch in batches] == [2, 1]
    assert all(len({e.upstreams["degrader"] for e in batch if "degrader" in e.upstreams}) == 1 for batch in batches)


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


def test_what_somebody_else_has_just_begun_is_asked_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searcher, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(searcher, "LOOK_AT_MOST", 0)
    search = made(tmp_path, Study(**{**vars(UNET), "num_trials": 1}))
    config = search.suggest("a")
    with lease(Store(tmp_path), executions(config)[0].address):
        search.on_trial_complete("a", {"busy": True, "done": True})
        assert search.suggest("b") is None, "without a slot"
    assert search.suggest("b") == config


def test_a_damaged_result_ends_the_search_with_its_sentence(tmp_path: Path) -> None:
    search = made(tmp_path)
    (execution,) = executions(search.suggest("a"))
    publish(tmp_path, execution, **{"val/psnr": 30.0})
    (tmp_path / "stages" / execution.address / "metrics.json").write_text("{}")
    search.on_trial_complete("a", {"done": True})
    assert "metrics.json" in search.stop and search.suggest("b") == Searcher.FINISHED
    assert ending(search)[0] == TrialState.RUNNING


def test_killed_for_its_memory_is_tried_once_more_alone(tmp_path: Path) -> None:
    search = made(tmp_path, Study(**{**vars(UNET), "num_trials": 1}))
    first = search.suggest("a")
    search.failed("a", "ray.exceptions.OutOfMemoryError: killed", out_of_memory=True)
    search.on_trial_complete("a", None, error=True)
    assert search.suggest("b") == first
    search.failed("b", "ray.exceptions.OutOfMemoryError: killed", out_of_memory=True)
    search.on_trial_complete("b", None, error=True)
    assert ending(search) == (TrialState.FAIL, "out of memory: ray.exceptions.OutOfMemoryError: killed")


def test_other_directions_than_recorded_are_refused(tmp_path: Path) -> None:
    made(tmp_path)
    with pytest.raises(ValueError, match="was begun with the directions"):
        journal.open_study(journal.storage(tmp_path), "study", TWO)


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
