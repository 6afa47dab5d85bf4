"""Executions as one piece of work, on a stage that is small."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from dehazing import stages
from dehazing.data.archive import save_series
from dehazing.data.series import Field, Series
from dehazing.pipeline.clock import Clock
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.fingerprint import code_version
from dehazing.pipeline.lease import Busy, lease
from dehazing.pipeline.store import Store
from dehazing.pipeline.together import can_share, execute_together

SHARED = '''
"""Evaluates several numbers; 7 fails, alone and beside others."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    numbers: tuple[int, ...] = (0,)


def needs(config):
    return ()


def joined(configs):
    return Config(tuple(number for config in configs for number in config.numbers))


class Stage:
    num_epochs = 1

    def __init__(self, config, context):
        self.config, self.epoch = config, 0

    def train_epoch(self):
        if 7 in self.config.numbers:
            raise ZeroDivisionError("7")
        self.epoch = 1
        return {}

    def state_dict(self):
        return {}

    def finish(self):
        ((files, self.final),) = self.finish_each([self.config])
        return files

    def finish_each(self, configs):
        return [({"sum": str(sum(one.numbers)).encode()}, {"sum": float(sum(one.numbers))}) for one in configs]
'''


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store with a series, and the stage of the kind `shared`."""
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "shared.py").write_text(SHARED)
    monkeypatch.setattr(stages, "__path__", [*stages.__path__, str(tmp_path / "stages")])
    monkeypatch.setattr(stages, "KINDS", (*stages.KINDS, "shared"))
    sys.modules.pop("dehazing.stages.shared", None)
    code_version.cache_clear()
    store = Store(tmp_path / "results")
    field = Field("field", "train", np.zeros((2, 8, 8), np.float32))
    folder = tmp_path / "series"
    folder.mkdir()
    save_series(Series((field,), (1.0, float("inf")), "au", (0.0, 0.0), (1.0, 1.0)), folder)
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    store.publish("series/0123456789abcdef", files)
    yield store
    sys.modules.pop("dehazing.stages.shared", None)
    code_version.cache_clear()


def of(number: int, seed: int = 0) -> Execution:
    return Execution("shared", {"numbers": [number]}, "0123456789abcdef", seed)


def test_each_is_published_at_its_own_address(store: Store) -> None:
    executions = [of(number) for number in (1, 2, 3)]
    execute_together(executions, store)
    assert [store.read(e.address, "sum") for e in executions] == [b"1", b"2", b"3"]


def test_only_those_fail_that_fail_alone_and_their_reasons_are_remembered(store: Store) -> None:
    executions, clock = [of(number) for number in (1, 7, 3)], Clock()
    execute_together(executions, store, clock=clock)
    assert [store.has(e.address) for e in executions] == [True, False, True]
    assert store.failure(executions[1].address) == "ZeroDivisionError: 7"


def test_what_does_not_fit_into_memory_says_so_before_its_first_epoch_too(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(stage, config, context):  # type: ignore[no-untyped-def]
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(stages.stage_module("shared").Stage, "__init__", build)
    with pytest.raises(MemoryError, match=r"shared must fit into the memory of cpu, but 2\.00 GiB more could not"):
        execute_together([of(1), of(2)], store)
    assert store.failure(of(1).address) is None


def test_what_somebody_else_has_taken_after_a_failure_is_not_waited_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    executions, clock = [of(number) for number in (1, 7, 3)], Clock()
    taken, done = threading.Event(), threading.Event()
    module = stages.stage_module("shared")

    def other() -> None:
        with lease(Store(store.root), executions[2].address, poll_s=0.001):
            taken.set()
            done.wait(20.0)

    thread = threading.Thread(target=other)
    train = module.Stage.train_epoch

    def trained(stage):  # type: ignore[no-untyped-def]
        if stage.config.numbers == (1,):  # the leases of all were given back
            thread.start()
            assert taken.wait(10.0)
        return train(stage)

    monkeypatch.setattr(module.Stage, "train_epoch", trained)
    begun_s = time.monotonic()
    with pytest.raises(Busy, match=executions[2].address):
        execute_together(executions, store, clock=clock, wait_s=0.0)
    assert time.monotonic() - begun_s < 10.0
    done.set()
    thread.join()
    assert [store.has(e.address) for e in executions] == [True, False, False]


def test_whether_they_can_share_is_told_without_making_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of hundreds compares each with each, on the driver's thread; to complete settings takes long."""
    one, other, another = of(1), of(2), of(1, seed=1)
    monkeypatch.setattr(Execution, "__post_init__", lambda self: pytest.fail("one was made"))
    assert can_share(one, other) and not can_share(one, another)
