"""The trainables without Ray: built, stepped, reset, stopped and gone on."""

from __future__ import annotations

import errno
import importlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import optuna
import pytest
from optuna.trial import TrialState
from ray import tune
from ray.tune.search import Searcher

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.lease import lease
from dehazing.pipeline.store import Store, Unwritable
from dehazing.stages import KINDS
from studies import journal, tuner
from studies.executions import pipeline_of, space_of
from studies.overhead import Overhead
from studies.progress import Progress
from studies.samplers import make_sampler
from studies.scale import Scale
from studies.study import Objective, Study
from tests import tiny_series
from trainables.trial import Trial
from trainables.unet import UNet

pytestmark = pytest.mark.slow

SMALL = {"base": 4, "depth": 2, "patch_px": 32, "batch_size": 2, "num_epochs": 3, "steps_per_epoch": 1}


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.tune.trainable.trainable.DEFAULT_STORAGE_PATH", str(tmp_path / "tune"))


@pytest.fixture()
def store(tmp_path: Path) -> Store:
    return tiny_series.publish(tmp_path)


def execution(seed: int = 0, **settings: Any) -> Execution:
    return Execution("unet", {**SMALL, **settings}, tiny_series.NAME, seed)


def config(store: Store, wanted: Execution) -> dict[str, Any]:
    return {"store": store.place, "executions": {wanted.address: asdict(wanted)}, "num_threads": 1}


def psnr(store: Store, wanted: Execution) -> float:
    return json.loads(store.read(wanted.address, "metrics.json"))["final"]["val/psnr"]


def steps(trial: Trial) -> list[dict[str, Any]]:
    results = [trial.train()]
    while not results[-1]["done"]:
        results.append(trial.train())
    return results


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_trainable(kind: str) -> None:
    trainable = importlib.import_module(f"trainables.{kind}").TRAINABLE
    assert issubclass(trainable, tune.Trainable) and trainable.kind == kind


def test_a_step_is_an_epoch_and_the_result_is_in_the_store(store: Store) -> None:
    results = steps(UNet(config(store, execution())))
    assert [result.get("epoch") for result in results] == [1, 2, 3, None]
    assert [result["done"] for result in results] == [False, False, False, True]
    assert results[-1]["spent"]["arithmetic"] > 0 and results[-1]["process/memory_mib"] > 1
    assert "failed" not in results[-1] and psnr(store, execution()) > 0


def test_what_the_store_has_is_answered_at_once(store: Store) -> None:
    steps(UNet(config(store, execution())))
    (again,) = steps(UNet(config(store, execution())))
    assert again["done"] and again["spent"]["arithmetic"] == 0


def test_an_actor_is_reused_for_another_configuration(store: Store) -> None:
    trial = UNet(config(store, execution()))
    trial.train()
    other = execution(lr=1e-4)
    assert trial.reset(config(store, other))
    steps(trial)
    assert store.has(other.address) and not store.has(execution().address)


def test_a_stopped_trial_goes_on_from_its_checkpoint(store: Store) -> None:
    steps(UNet(config(store, execution(seed=1))))
    fresh = tiny_series.publish(store.root.parent / "other")
    stopped = UNet(config(fresh, execution(seed=1)))
    stopped.train()
    stopped.stop()
    results = steps(UNet(config(fresh, execution(seed=1))))
    assert [result.get("epoch") for result in results] == [2, 3, None]
    assert psnr(fresh, execution(seed=1)) == psnr(store, execution(seed=1)), "the same numbers, to the bit"


def test_a_failure_of_the_stage_is_a_result_with_its_reason(store: Store) -> None:
    bad = execution(lr=1e30, num_epochs=40)
    trial = UNet(config(store, bad))
    last = steps(trial)[-1]
    assert last["failed"].startswith("FloatingPointError: The loss must stay finite") and not last["out_of_memory"]
    assert store.failure(bad.address) == last["failed"]
    assert trial.reset(config(store, execution())) and "failed" not in steps(trial)[-1], "the actor serves the next one"


def test_other_code_than_the_drivers_is_refused(store: Store) -> None:
    last = steps(UNet({**config(store, execution()), "executions": {"unet/0123456789abcdef": asdict(execution())}}))[-1]
    assert "must have the same code, but what the driver calls unet/0123456789abcdef" in last["stop"]
    assert store.addresses() == ["series/tiny"]


def test_a_joint_studys_trainable_takes_any_kind(store: Store) -> None:
    steps(Trial(config(store, execution())))
    assert store.has(execution().address)


def refuse(*arguments: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_no_failure_of_the_trial(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as full:
        full.setattr("dehazing.pipeline.store._write", refuse)
        last = steps(UNet(config(store, execution())))[-1]
        assert "No space left" in last["stop"] and "failed" not in last
    assert "stop" not in steps(UNet(config(store, execution())))[-1], "with room again it goes on"


class InProcess:
    """Ray Tune's Tuner with every trial in this process."""

    def __init__(self, trainable: Any, tune_config: Any, run_config: Any) -> None:
        self.searcher = tune_config.search_alg

    def fit(self) -> None:
        for number in range(100):
            asked = self.searcher.suggest(str(number))
            if asked == Searcher.FINISHED:
                return
            self.searcher.on_trial_complete(str(number), steps(UNet(asked))[-1])


def test_a_full_disk_ends_the_search_and_the_same_command_goes_on(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study("unet", "Works?", "unet", (Objective("val/psnr", "max"),), 2, sampler="random", config=SMALL)

    def make(suggestion: Mapping[str, Any]) -> list[Execution]:
        return pipeline_of(study, tiny_series.NAME, 0, {}, suggestion)

    def run() -> list[optuna.trial.FrozenTrial]:
        opened = journal.open_study(journal.storage(tmp_path), "study", study, make_sampler("random", 0, 2))
        silent = Progress(io.StringIO())
        how = tuner.Search(store.root, store, Scale(), 1, MagicMock(), silent, Overhead())
        try:
            tuner.search(study, opened, space_of(study), make, how)
        finally:
            trials.extend(opened.get_trials())
        return trials

    monkeypatch.setattr("ray.tune.Tuner", InProcess)
    monkeypatch.setattr("ray.tune.with_resources", lambda trainable, resources: trainable)
    trials: list[optuna.trial.FrozenTrial] = []
    with monkeypatch.context() as full:
        full.setattr("dehazing.pipeline.store._write", refuse)
        with pytest.raises(Unwritable, match="No space left"):
            run()
    assert [trial.state for trial in trials] == [TrialState.RUNNING]
    before = trials.pop().params
    assert [trial.state for trial in run()] == [TrialState.COMPLETE] * 2 and trials[0].params == before


def test_who_finds_somebody_at_work_waits_without_a_slot(store: Store) -> None:
    with lease(store, execution().address):
        assert steps(UNet(config(store, execution())))[-1]["busy"]
    assert "busy" not in steps(UNet(config(store, execution())))[-1]


def test_a_fault_of_the_machine_ends_the_process_and_is_not_remembered(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fall(stage: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("dehazing.stages.unet.Stage.train_epoch", fall)
    with pytest.raises(OSError, match="Input/output"):
        steps(UNet(config(store, execution())))
    assert store.failure(execution().address) is None


def test_an_error_of_the_program_is_a_failure_that_comes_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def err(stage: Any) -> None:
        raise AttributeError("no such thing")

    monkeypatch.setattr("dehazing.stages.unet.Stage.train_epoch", err)
    assert steps(UNet(config(store, execution())))[-1]["failed"] == "AttributeError: no such thing"
    assert store.failure(execution().address) == "AttributeError: no such thing"


def test_tunes_checkpoints_hold_nothing(store: Store, tmp_path: Path) -> None:
    trial = UNet(config(store, execution()))
    assert trial.save_checkpoint(str(tmp_path)) == {}
