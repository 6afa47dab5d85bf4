"""The one way to do work: look into the store, take the lease, go on from the last checkpoint, publish."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from dehazing.data.archive import load_series
from dehazing.data.series import Series
from dehazing.pipeline import checkpoint
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.lease import Lease, lease
from dehazing.pipeline.stage import Context, Stage
from dehazing.pipeline.store import Store
from dehazing.stages import stage_module
from dehazing.strict import from_mapping

CHECKPOINT_EVERY_S = 60.0


def execute(
    execution: Execution,
    store: Store,
    device: str = "cpu",
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
) -> str:
    """Makes sure that an execution is published, and returns its fingerprint; `on_epoch` sees each new epoch."""
    with closing(executing(execution, store, device, checkpoint_every_s)) as epochs:
        for metrics in epochs:
            if on_epoch is not None:
                on_epoch(metrics)
    return execution.fingerprint


def executing(
    execution: Execution,
    store: Store,
    device: str = "cpu",
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
) -> Generator[dict[str, Any], None, None]:
    """One dict of metrics per epoch: {"epoch": 1, "num_epochs": n, "train/loss": …, "seconds": of this epoch}.

    Yields nothing where the store has the execution, waits where another process is at it, and goes on after
    the last checkpoint where there is one (epochs before it are not yielded again, but are in the published
    history). The result is published before the last epoch is yielded. Close the generator to stop early: it
    leaves a checkpoint and releases its lease. A stage that raises publishes nothing and keeps its last
    checkpoint; one that is interrupted within an epoch goes on from the checkpoint before.

    Random numbers: torch is seeded with the execution's seed before the stage is built (initial weights), and
    torch's state is part of a checkpoint; what a stage draws itself comes from a generator that it seeds with
    `context.seed` and keeps in its state. So a resumed stage equals an uninterrupted one to the bit.
    """
    address = execution.address
    if store.has(address):
        return
    with lease(store, address) as held:
        if store.has(address):
            return
        last = yield from _epochs(execution, store, device, checkpoint_every_s, held)
        store.clear_partial(address)
    if last is not None:
        yield last


def _epochs(
    execution: Execution, store: Store, device: str, checkpoint_every_s: float, held: Lease
) -> Generator[dict[str, Any], None, dict[str, Any] | None]:
    """Every epoch but the last, which is returned once the result is published."""
    partial = store.partial(execution.address)
    started = time.monotonic()
    stage = build(execution, store, device)
    history: list[dict[str, Any]] = []
    seconds_before = 0.0
    state = checkpoint.latest(partial)
    if state is not None:
        stage.load_state_dict(state["stage"])
        history = state["history"][: stage.epoch]  # an evaluation starts over
        seconds_before = state["seconds"]
        _set_random_state(state["random"])
    saved_at, saved_epoch = time.monotonic(), stage.epoch

    def seconds() -> float:
        return seconds_before + time.monotonic() - started

    def save() -> None:
        held.check()
        state = {"stage": stage.state_dict(), "history": history, "seconds": seconds(), "random": _random_state()}
        checkpoint.save(partial, state, stage.epoch)

    metrics: dict[str, Any] | None = None
    while stage.epoch < stage.num_epochs:
        if metrics is not None:
            try:
                yield metrics
            except BaseException:  # the generator is closed, or its consumer interrupted
                if stage.epoch != saved_epoch:
                    save()
                raise
        epoch_started = time.monotonic()
        measured = stage.train_epoch()
        metrics = {
            "epoch": stage.epoch,
            "num_epochs": stage.num_epochs,
            **measured,
            "seconds": time.monotonic() - epoch_started,
        }
        history.append(dict(metrics))
        if time.monotonic() - saved_at >= checkpoint_every_s:
            save()
            saved_at, saved_epoch = time.monotonic(), stage.epoch
    files: dict[str, bytes | Path] = dict(stage.finish())
    files["config.json"] = _json(execution.record())
    files["metrics.json"] = _json({"final": stage.final, "history": history, "seconds": seconds(), "device": device})
    store.publish(execution.address, files, fence=held.check)
    return metrics


def build(execution: Execution, store: Store, device: str) -> Stage:
    """The stage of an execution before its first epoch; ValueError where what it builds on is not published."""
    module = stage_module(execution.kind)
    context = Context(
        series=_series(store.folder(f"series/{execution.dataset}")),
        upstreams={role: store.folder(address) for role, address in execution.upstreams.items()},
        seed=execution.seed,
        device=device,
    )
    config = from_mapping(module.Config, execution.config, f"the settings of {execution.kind}")
    torch.manual_seed(execution.seed)
    return module.Stage(config, context)


@lru_cache(maxsize=2)
def _series(folder: Path) -> Series:
    return load_series(folder)


def _random_state() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=1).encode()
