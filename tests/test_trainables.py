"""The trainables without Ray: built, stepped, reset, stopped and gone on."""

from __future__ import annotations

import importlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store
from dehazing.stages import KINDS
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
    return {"root": str(store.root), "execution": asdict(wanted), "num_threads": 1}


def steps(trial: Trial) -> list[dict[str, Any]]:
    results = [trial.train()]
    while not results[-1]["done"]:
        results.append(trial.train())
    return results


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_trainable(kind: str) -> None:
    trainable = importlib.import_module(f"trainables.{kind}").TRAINABLE
    assert issubclass(trainable, tune.Trainable) and trainable.kind == kind


def test_a_step_is_an_epoch_and_the_last_result_has_the_final_metrics(store: Store) -> None:
    results = steps(UNet(config(store, execution())))
    assert [result.get("epoch") for result in results] == [1, 2, 3, None]
    assert [result["finished"] for result in results] == [False, False, False, True]
    assert results[-1]["val/psnr_mean_over_levels"] > 0 and results[-1]["device"] == "cpu"
    assert store.has(execution().address)


def test_what_the_store_has_is_answered_at_once(store: Store) -> None:
    first = steps(UNet(config(store, execution())))[-1]
    (again,) = steps(UNet(config(store, execution())))
    assert again["val/psnr"] == first["val/psnr"]


def test_an_actor_is_reused_for_another_configuration(store: Store) -> None:
    trial = UNet(config(store, execution()))
    trial.train()
    other = execution(lr=1e-4)
    assert trial.reset(config(store, other))
    results = steps(trial)
    assert results[-1]["finished"] and store.has(other.address) and not store.has(execution().address)


def test_a_stopped_trial_goes_on_from_its_checkpoint(store: Store) -> None:
    whole = steps(UNet(config(store, execution(seed=1))))[-1]
    fresh = tiny_series.publish(store.root.parent / "other")
    stopped = UNet(config(fresh, execution(seed=1)))
    stopped.train()
    stopped.stop()
    results = steps(UNet(config(fresh, execution(seed=1))))
    assert [result.get("epoch") for result in results] == [2, 3, None]
    assert results[-1]["val/psnr"] == whole["val/psnr"], "the same numbers, to the bit"


def test_a_failure_of_the_stage_is_a_result_with_its_reason(store: Store) -> None:
    trial = UNet(config(store, execution(lr=1e30, num_epochs=40)))
    last = steps(trial)[-1]
    assert last["failed"].startswith("FloatingPointError: The loss must stay finite") and not last["finished"]
    assert trial.reset(config(store, execution())) and steps(trial)[-1]["finished"], "the actor serves the next one"


def test_tunes_checkpoints_hold_nothing(store: Store, tmp_path: Path) -> None:
    trial = UNet(config(store, execution()))
    assert trial.save_checkpoint(str(tmp_path)) == {}
