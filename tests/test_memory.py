"""The most memory that was held while something was executed: from its beginning on, and over an interruption."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import tiny_series

from dehazing.pipeline.execute import execute, executing
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.memory import Peak
from dehazing.pipeline.store import Store

MIB = 2**20
UNET = {"base": 4, "depth": 2, "patch_px": 32, "batch_size": 2, "num_epochs": 2, "steps_per_epoch": 1}
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux starts the figure anew")


def held(mib: int) -> None:
    np.ones(mib * MIB, np.uint8)


@on_linux
def test_the_peak_is_of_what_was_held_since_and_of_nothing_before() -> None:
    held(300)
    before = Peak("cpu").record()["peak_memory"]
    later = Peak("cpu")
    held(200)
    assert later.record()["peak_memory"] > before + 150 * MIB
    assert Peak("cpu").record()["peak_memory"] < before + 50 * MIB
    assert set(later.record()) == {"peak_memory"}, "nothing of a GPU where none is used"


def test_an_interruption_does_not_hide_what_was_held_before_it() -> None:
    peak = Peak("cpu")
    peak.go_on({"peak_memory": 2**50})
    assert peak.record()["peak_memory"] == 2**50


def test_every_execution_publishes_it_and_the_next_sitting_knows_of_the_first(tmp_path: Path) -> None:
    store = tiny_series.publish(tmp_path)
    execution = Execution("unet", UNET, "tiny", 1)
    with closing(executing(execution, store)) as epochs:
        next(epochs)
        held(400)
    execute(execution, store)
    other = Execution("unet", UNET, "tiny", 2)
    execute(other, store)
    first, second = (memory_of(store, one.address) for one in (execution, other))
    assert second["peak_memory"] > 100 * MIB
    if sys.platform == "linux":
        assert first["peak_memory"] > second["peak_memory"] + 300 * MIB


def memory_of(store: Store, address: str) -> dict[str, int]:
    memory: dict[str, int] = json.loads(store.read(address, "metrics.json"))["memory"]
    return memory
