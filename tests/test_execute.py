import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dehazing import stages
from dehazing.data.archive import save_series
from dehazing.data.series import Field, Series
from dehazing.pipeline import checkpoint, execute
from dehazing.pipeline.clock import Clock
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.failure import FailedBefore
from dehazing.pipeline.fingerprint import code_version
from dehazing.pipeline.lease import LeaseLost, holder
from dehazing.pipeline.store import Damaged, Store, Unwritable

ROOT = Path(__file__).resolve().parent.parent

TOY = '''
"""A stage like any other, small: it draws from torch's generator (dropout) and from its own."""
import time
from dataclasses import dataclass

import torch
from safetensors.torch import save
from torch import nn


@dataclass(frozen=True)
class Config:
    lr: float = 0.1
    num_epochs: int = 5
    nan_at: int = 0
    build_on: str | None = None
    epoch_s: float = 0.0


def needs(config):
    return () if config.build_on is None else (config.build_on,)


class Stage:
    def __init__(self, config, context):
        self.config, self.context = config, context
        self.num_epochs, self.epoch = config.num_epochs, 0
        self.network = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 4))
        self.adam = torch.optim.AdamW(self.network.parameters(), lr=config.lr)
        self.generator = torch.Generator().manual_seed(context.seed)
        self.x = torch.from_numpy(context.series.x("train")[:, :, 0, :4])

    def train_epoch(self):
        time.sleep(self.config.epoch_s)
        which = torch.randint(len(self.x), (3,), generator=self.generator)
        loss = (self.network(self.x[which]) - self.x[which]).square().mean()
        if self.epoch + 1 == self.config.nan_at:
            raise FloatingPointError("The loss must be finite, but is nan.")
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        self.epoch += 1
        return {"train/loss": float(loss.detach())}

    def state_dict(self):
        return {"network": self.network.state_dict(), "adam": self.adam.state_dict(),
                "generator": self.generator.get_state(), "epoch": self.epoch}

    def load_state_dict(self, state):
        self.network.load_state_dict(state["network"])
        self.adam.load_state_dict(state["adam"])
        self.generator.set_state(state["generator"])
        self.epoch = state["epoch"]

    def finish(self):
        self.final = {"val/psnr": 30.0}
        return {"weights.safetensors": save(self.network.state_dict())}
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The folder of a stage module of the kind `toy`, found like the others."""
    folder = tmp_path / "stages"
    folder.mkdir()
    (folder / "toy.py").write_text(TOY)
    monkeypatch.setattr(stages, "__path__", [*stages.__path__, str(folder)])
    monkeypatch.setattr(stages, "KINDS", (*stages.KINDS, "toy"))
    sys.modules.pop("dehazing.stages.toy", None)
    code_version.cache_clear()
    yield folder
    sys.modules.pop("dehazing.stages.toy", None)
    code_version.cache_clear()


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "results")
    frames = np.random.default_rng(0).normal(size=(4, 2, 8, 8)).astype(np.float32)
    splits = ("train", "train", "validation", "test")
    fields = tuple(Field(f"field {i}", split, frames[i]) for i, split in enumerate(splits))
    series = Series(fields, (1.0, float("inf")), "au", (0.0, 0.0), (1.0, 1.0))
    folder = tmp_path / "series"
    folder.mkdir()
    save_series(series, folder)
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    store.publish("series/0123456789abcdef", files)
    return store


def toy_execution(seed=1, upstreams=None, **config):
    return Execution("toy", config, "0123456789abcdef", seed, upstreams or {})


def published(store, execution):
    folder = store.folder(execution.address)
    return load_file(folder / "weights.safetensors"), json.loads((folder / "metrics.json").read_text())


def without_seconds(history):
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in history]


def equal(weights, others):
    return weights.keys() == others.keys() and all(torch.equal(weights[name], others[name]) for name in weights)


def test_an_execution_trains_publishes_and_is_found(toy, store):
    execution = toy_execution()
    epochs = []
    assert execute.execute(execution, store, on_epoch=epochs.append) == execution.fingerprint
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3, 4, 5]
    assert set(epochs[0]) == {"epoch", "num_epochs", "train/loss", "seconds"}
    _, metrics = published(store, execution)
    assert metrics["final"] == {"val/psnr": 30.0} and metrics["history"] == epochs and metrics["device"] == "cpu"
    assert metrics["seconds"] >= sum(epoch["seconds"] for epoch in epochs)
    record = json.loads((store.folder(execution.address) / "config.json").read_text())
    assert record == execution.record()
    assert sorted(path.name for path in store.folder(execution.address).iterdir()) == [
        "config.json",
        "manifest.json",
        "metrics.json",
        "weights.safetensors",
    ]
    execute.execute(execution, store, on_epoch=lambda epoch: pytest.fail("trained again"))


@pytest.mark.parametrize("stop_after", [1, 3, 4])
@pytest.mark.parametrize("checkpoint_every_s", [0.0, 60.0])
def test_resumed_equals_uninterrupted_to_the_bit(toy, store, tmp_path, stop_after, checkpoint_every_s):
    execution = toy_execution()
    other = Store(shutil.copytree(store.root, tmp_path / "other"))
    execute.execute(execution, other)

    with closing(execute.executing(execution, store, checkpoint_every_s=checkpoint_every_s)) as epochs:
        for _ in range(stop_after):
            next(epochs)
    assert not store.has(execution.address) and holder(store, execution.address) is None
    torch.manual_seed(1234)
    torch.rand(7)
    rest = list(execute.executing(execution, store))
    assert [epoch["epoch"] for epoch in rest] == list(range(stop_after + 1, 6))

    weights, metrics = published(store, execution)
    expected_weights, expected = published(other, execution)
    assert equal(weights, expected_weights)
    assert without_seconds(metrics["history"]) == without_seconds(expected["history"])


def test_the_result_is_published_before_the_last_epoch_is_told(toy, store):
    execution = toy_execution(num_epochs=2)
    epochs = execute.executing(execution, store)
    next(epochs)
    assert not store.has(execution.address)
    assert next(epochs)["epoch"] == 2
    assert store.has(execution.address) and holder(store, execution.address) is None


def test_a_loss_that_is_not_finite_fails_and_keeps_the_checkpoint(toy, store):
    execution = toy_execution(nan_at=3)
    with pytest.raises(FloatingPointError):
        execute.execute(execution, store, checkpoint_every_s=0.0)
    assert not store.has(execution.address) and holder(store, execution.address) is None
    assert checkpoint.latest(store.partial(execution.address))["stage"]["epoch"] == 2


@pytest.mark.parametrize("checkpoint_every_s", [0.0, execute.CHECKPOINT_EVERY_S])
def test_the_checkpoint_that_is_kept_is_that_of_the_last_good_epoch(toy, store, tmp_path, checkpoint_every_s):
    """Though the epoch that fails has spoilt the weights, and goes on from it as if nothing had been."""
    execution, other = toy_execution(), Store(shutil.copytree(store.root, tmp_path / "other"))
    execute.execute(execution, other)
    stage = stages.stage_module("toy").Stage
    train = stage.train_epoch

    def spoilt(self):
        train(self)
        if self.epoch == 4:
            with torch.no_grad():
                self.network[0].weight.fill_(math.nan)
            raise FloatingPointError("The loss must be finite, but is nan.")
        return {}

    stage.train_epoch = spoilt
    with pytest.raises(FloatingPointError):
        execute.execute(execution, store, checkpoint_every_s=checkpoint_every_s)
    kept = checkpoint.latest(store.partial(execution.address))
    assert kept["stage"]["epoch"] == len(kept["history"]) == 3
    stage.train_epoch = train
    store.forget_failure(execution.address)
    epochs = []
    execute.execute(execution, store, on_epoch=epochs.append)
    assert [epoch["epoch"] for epoch in epochs] == [4, 5]
    assert equal(published(store, execution)[0], published(other, execution)[0])


def test_no_checkpoint_is_left_where_no_epoch_was_good(toy, store):
    execution = toy_execution(nan_at=1)
    with pytest.raises(FloatingPointError):
        execute.execute(execution, store)
    assert checkpoint.latest(store.partial(execution.address)) is None


def test_a_failure_that_would_come_again_is_remembered_until_it_is_forgotten(toy, store):
    execution = toy_execution(nan_at=2)
    with pytest.raises(FloatingPointError):
        execute.execute(execution, store)
    assert store.failure(execution.address) == "FloatingPointError: The loss must be finite, but is nan."
    with pytest.raises(FailedBefore, match="The loss must be finite"):
        execute.execute(execution, store, on_epoch=lambda epoch: pytest.fail("tried again"))
    store.forget_failure(execution.address)
    with pytest.raises(FloatingPointError):
        execute.execute(execution, store)


@pytest.mark.parametrize("error", [MemoryError(), Unwritable("full")])
def test_what_may_go_well_another_time_is_not_remembered(toy, store, monkeypatch, error):
    execution = toy_execution()

    def fail(stage):
        raise error

    monkeypatch.setattr(stages.stage_module("toy").Stage, "train_epoch", fail)
    with pytest.raises(type(error)):
        execute.execute(execution, store)
    assert store.failure(execution.address) is None


def test_what_runs_out_of_memory_says_so_and_may_go_well_another_time(toy, store, monkeypatch):
    execution = toy_execution()

    def fail(stage):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(stages.stage_module("toy").Stage, "train_epoch", fail)
    with pytest.raises(MemoryError, match="toy must fit into the memory of cpu, but more memory could not"):
        execute.execute(execution, store)
    assert store.failure(execution.address) is None


def test_a_missing_upstream_is_no_failure_of_the_stage(toy, store):
    execution = toy_execution(build_on="hvae", upstreams={"hvae": "hvae/ab"})
    with pytest.raises(Damaged, match="must be published"):  # so that a study is stopped, and none of its trials fails
        execute.execute(execution, store)
    assert store.failure(execution.address) is None


@pytest.mark.parametrize(
    ("epoch_s", "saved_after"), [(5.0, [11, 22, 24]), (20.0, [2, 4, 6]), (59.0, [1, 2]), (90.0, [1, 2])]
)
def test_a_checkpoint_is_at_most_a_minute_or_an_epoch_old(toy, store, monkeypatch, epoch_s, saved_after):
    """On a clock of its own, which moves on by an epoch with each."""
    now_s, saved, save = [0.0], [], checkpoint.save
    monkeypatch.setattr(execute, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    stage = stages.stage_module("toy").Stage
    train = stage.train_epoch

    def trained(self):
        now_s[0] += epoch_s
        return train(self)

    def noted(partial, state, epoch):
        saved.append(epoch)
        save(partial, state, epoch)

    monkeypatch.setattr(stage, "train_epoch", trained)
    monkeypatch.setattr(checkpoint, "save", noted)
    execute.execute(toy_execution(num_epochs=saved_after[-1]), store)
    assert saved == saved_after


def test_what_was_trained_is_saved_before_a_long_end(toy, store, monkeypatch):
    monkeypatch.setattr(execute, "BEFORE_THE_END_S", 0.1)
    execution = toy_execution(epoch_s=0.05)
    monkeypatch.setattr(stages.stage_module("toy").Stage, "finish", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        execute.execute(execution, store)
    assert [path.name[:12] for path in store.partial(execution.address).glob("epoch-*")] == ["epoch-000005"]


def test_the_clock_is_told_where_the_time_goes(toy, store):
    clock = Clock()
    begun_s = time.perf_counter()
    list(execute.executing(toy_execution(epoch_s=0.02), store, checkpoint_every_s=0.0, clock=clock))
    whole_s = time.perf_counter() - begun_s
    assert clock.seconds["arithmetic"] >= 5 * 0.02 and clock.seconds["store"] > 0 and clock.seconds["loading"] > 0
    assert sum(clock.seconds.values()) <= whole_s


def test_whoever_was_taken_for_dead_publishes_nothing(toy, store):
    execution = toy_execution(num_epochs=2)
    epochs = execute.executing(execution, store)
    next(epochs)
    (store.lease_folder(execution.address) / "LEASE-000002").write_text(
        json.dumps({"host": "elsewhere", "pid": 1, "started_s": 0.0})
    )
    with pytest.raises(LeaseLost):
        next(epochs)
    assert not store.has(execution.address)


def test_settings_are_completed_so_that_spelling_does_not_count(toy):
    assert toy_execution(lr=1).fingerprint == toy_execution(num_epochs=5, lr="1.0").fingerprint
    assert toy_execution(lr=1).fingerprint != toy_execution().fingerprint
    assert toy_execution(seed=2).fingerprint != toy_execution().fingerprint
    on = {"build_on": "hvae"}
    one, two = (toy_execution(upstreams={"hvae": f"hvae/{digit * 16}"}, **on) for digit in "12")
    assert one.fingerprint != two.fingerprint


def test_mistakes_are_refused_before_anything_runs(toy, store):
    with pytest.raises(ValueError, match=r"num_epoch`.*nearest valid key is `num_epochs`"):
        toy_execution(num_epoch=3)
    with pytest.raises(ValueError, match=r"must build on \['hvae'\], but was given \[\]"):
        toy_execution(build_on="hvae")
    with pytest.raises(ValueError, match="nearest: toy"):
        Execution("toys", {}, "0123456789abcdef", 1)
    with pytest.raises(ValueError, match="hvae/ab must be published"):
        execute.execute(toy_execution(build_on="hvae", upstreams={"hvae": "hvae/ab"}), store)


SCRIPT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background processes ignore it
import sys
from dehazing import stages
stages.__path__.append(sys.argv[1])
stages.KINDS += ("toy",)
from dehazing.pipeline.execute import execute
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store
execution = Execution("toy", {"epoch_s": 1.0}, "0123456789abcdef", 1)
seen = lambda epoch: print(epoch["epoch"], flush=True)
execute(execution, Store(sys.argv[2]), on_epoch=seen, checkpoint_every_s=0.0)
"""


def start(toy, store):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(toy), str(store.root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_process_is_continued_by_the_next(toy, store, how):
    execution = toy_execution(epoch_s=1.0)
    first = start(toy, store)
    assert first.stdout.readline() == "1\n"
    assert first.stdout.readline() == "2\n"
    first.send_signal(how)
    first.communicate(timeout=30)
    assert first.returncode != 0 and not store.has(execution.address)
    epochs = []
    execute.execute(execution, store, on_epoch=epochs.append)
    assert epochs[0]["epoch"] in (2, 3, 4) and epochs[-1]["epoch"] == 5
    weights, metrics = published(store, execution)
    assert [epoch["epoch"] for epoch in metrics["history"]] == [1, 2, 3, 4, 5]

    undisturbed = toy_execution(epoch_s=0.0)
    execute.execute(undisturbed, store)
    assert equal(weights, published(store, undisturbed)[0])


@pytest.mark.slow
def test_two_processes_share_one_execution(toy, store):
    both = [start(toy, store), start(toy, store)]
    outputs = [process.communicate(timeout=60)[0].split() for process in both]
    assert sorted(outputs, key=len) == [[], ["1", "2", "3", "4", "5"]]
