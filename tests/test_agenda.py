"""What trials share is made once, and what cannot be made is tried as often as it makes sense."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from dehazing.pipeline import lease as leasing
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.lease import lease
from dehazing.pipeline.store import Store
from studies import journal, searcher
from studies.agenda import Agenda, Asked
from studies.budget import Budget
from studies.executions import pipeline_of, space_of
from studies.samplers import make_sampler
from studies.searcher import JournalSearch
from studies.study import Objective, Study
from tests.searching import ELSEWHERE, JOINT, UNET, Told, ending, executions, finish, made, publish, trials
from trainables.trial import Trial


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


def test_a_batch_holds_as_many_trials_as_a_slots_share(tmp_path: Path) -> None:
    upstreams = {role: f"{role}/x" for role in ("unet", "nafnet", "hdn", "hvae", "restorer", "degrader")}
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


def test_a_batch_never_mixes_networks(tmp_path: Path) -> None:
    """`bridge` needs no degrader, so it can share with a loop on either of two; those two cannot share."""
    both = {role: f"{role}/x" for role in ("unet", "nafnet", "hdn", "hvae", "restorer")}
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
    assert search.suggest("b")["executions"] == config["executions"]


def test_what_somebody_was_busy_with_rests_until_the_next_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that this driver takes for silent, and whoever it hands the work to does not."""
    search = made(tmp_path, Study(**{**vars(UNET), "num_trials": 1}))
    config = search.suggest("a")
    search.on_trial_complete("a", {"busy": True, "done": True})
    assert search.suggest("b") is None
    search._look_at_s = 0.0
    assert search.suggest("b")["executions"] == config["executions"]


def test_a_silent_lease_is_taken_over_by_the_first_that_is_given_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = made(tmp_path, Study(**{**vars(UNET), "num_trials": 1}))
    (execution,) = executions(search.suggest("a"))
    search.on_trial_complete("a", {"busy": True, "done": True})
    folder = Store(tmp_path).lease_folder(execution.address)
    folder.mkdir(parents=True)
    (folder / "LEASE-000001").write_text(json.dumps(ELSEWHERE))
    search._look_at_s = 0.0
    assert search.suggest("b") is None, "its owner may be alive"
    place = (str(tmp_path), execution.address)
    touched, since = leasing._seen[place]
    leasing._seen[place] = (touched, since - 2 * leasing.STALE_AFTER_S)
    search._look_at_s = 0.0
    config = search.suggest("b")
    monkeypatch.setattr(leasing, "_seen", {})  # the trial runs in a process of its own
    trial = Trial({**config, "store": str(tmp_path)})
    assert trial.train()["stop"].startswith("series/series must be published"), "not busy: it has the lease"


def test_what_this_driver_gave_up_and_another_one_made_is_there(tmp_path: Path) -> None:
    search = made(tmp_path, Study(**{**vars(UNET), "num_trials": 1}))
    (execution,) = executions(search.suggest("a"))
    search._agenda._failed[execution.address] = "its process was lost 4 times"
    publish(tmp_path, execution, **{"val/psnr": 30.0})
    search._agenda.look()
    search.on_trial_complete("a", {"busy": True, "done": True})
    search._teller.tell(search._agenda.settled())
    assert ending(search) == (TrialState.COMPLETE, None)


def test_killed_for_its_memory_is_tried_once_more_alone(tmp_path: Path) -> None:
    search = made(tmp_path, Study(**{**vars(UNET), "num_trials": 1}))
    first = search.suggest("a")
    search.failed("a", "ray.exceptions.OutOfMemoryError: killed", out_of_memory=True)
    search.on_trial_complete("a", None, error=True)
    assert search.suggest("b") == first
    search.failed("b", "ray.exceptions.OutOfMemoryError: killed", out_of_memory=True)
    search.on_trial_complete("b", None, error=True)
    assert ending(search) == (TrialState.FAIL, "out of memory: ray.exceptions.OutOfMemoryError: killed")
