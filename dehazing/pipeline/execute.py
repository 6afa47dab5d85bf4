"""The one way to do work: look into the store, take the lease, go on from the last checkpoint, publish."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from dehazing.data.archive import load_series
from dehazing.data.series import Series
from dehazing.pipeline import checkpoint
from dehazing.pipeline.clock import Clock
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.failure import FailedBefore, remembering, with_sizes
from dehazing.pipeline.fitting import require_fit
from dehazing.pipeline.lease import Lease, lease
from dehazing.pipeline.memory import Peak
from dehazing.pipeline.stage import Context, Stage
from dehazing.pipeline.store import Store
from dehazing.stages import stage_module
from dehazing.stages.compute import Compute, settle
from dehazing.strict import from_mapping

CHECKPOINT_EVERY_S = 60.0
BEFORE_THE_END_S = 10.0  # so much work is not left unsaved while a stage finishes


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
    clock: Clock | None = None,
    wait_s: float = math.inf,
) -> Generator[dict[str, Any], None, None]:
    """One dict of metrics per epoch: {"epoch": 1, "num_epochs": n, "train/loss": …, "seconds": of this epoch}.

    Yields nothing where the store has the execution, waits where another process is at it (Busy after `wait_s`), and
    goes on after the last checkpoint where there is one (epochs before it are not yielded again, but are in the
    published history). The result is published before the last epoch is yielded. Close the generator to stop early: it
    leaves a checkpoint and releases its lease. A stage that raises publishes nothing and keeps its last checkpoint,
    that of the last good epoch where a loss was not finite or has run away; what would fail again is remembered in the
    store, and FailedBefore from then on. One that is interrupted within an epoch goes on from the checkpoint before.
    `clock` is told where the time goes.

    Random numbers: torch is seeded with the execution's seed before the stage is built (initial weights), and
    torch's state is part of a checkpoint; what a stage draws itself comes from a generator that it seeds with
    `context.seed` and keeps in its state. So a resumed stage equals an uninterrupted one to the bit.
    """
    address, clock = execution.address, clock or Clock()
    if store.has(address):
        return
    with ExitStack() as leases:
        with clock.of("waiting"):
            held = leases.enter_context(lease(store, address, wait_s=wait_s))
        if store.has(address):
            return
        reason = store.failure(address)
        if reason is not None:
            raise FailedBefore(reason)
        last = yield from _epochs(execution, store, device, checkpoint_every_s, held, clock)
        store.clear_partial(address)
    if last is not None:
        yield last


def _epochs(
    execution: Execution, store: Store, device: str, checkpoint_every_s: float, held: Lease, clock: Clock
) -> Generator[dict[str, Any], None, dict[str, Any] | None]:
    """Every epoch but the last, which is returned once the result is published."""
    address = execution.address
    started, peak = time.monotonic(), Peak(device)
    with clock.of("loading"):
        partial = store.partial(address)
        context = context_of(execution, store, device)
        with remembering(store, address), with_sizes(execution, context):
            stage = build(execution, context)
    history: list[dict[str, Any]] = []
    seconds_before = 0.0
    with clock.of("store"):
        state = checkpoint.latest(partial)
    if state is not None:
        require_fit(stage.state_dict(), state["stage"], f"The checkpoint in {partial} must fit its stage's settings")
        stage.load_state_dict(state["stage"])
        history = state["history"][: stage.epoch]  # an evaluation starts over
        seconds_before = state["seconds"]
        peak.go_on(state.get("memory", {}))
        _set_random_state(state["random"])
    saved_at, saved_epoch = time.monotonic(), stage.epoch

    def seconds() -> float:
        return seconds_before + time.monotonic() - started

    def now() -> dict[str, Any]:
        return {"stage": stage.state_dict(), "random": _random_state()}

    def save(state: dict[str, Any]) -> None:
        with clock.of("store"):
            held.check()
            so_far = {"history": history, "seconds": seconds(), "memory": peak.record()}
            checkpoint.save(partial, {**state, **so_far}, len(history))
            store.save_partial(address)

    good: dict[str, Any] | None = None  # the state after the last epoch, where it has no checkpoint
    metrics: dict[str, Any] | None = None
    while stage.epoch < stage.num_epochs:
        if metrics is not None:
            try:
                yield metrics
            except BaseException:  # the generator is closed, or its consumer interrupted
                if stage.epoch != saved_epoch:
                    save(now())
                raise
        epoch_started = time.monotonic()
        try:
            with clock.of("arithmetic"), remembering(store, address), with_sizes(execution, context):
                measured = stage.train_epoch()
        except FloatingPointError:
            if good is not None:
                save(good)
            raise
        metrics = {
            "epoch": stage.epoch,
            "num_epochs": stage.num_epochs,
            **measured,
            "seconds": time.monotonic() - epoch_started,
        }
        history.append(dict(metrics))
        # the next epoch's end would be too late, or the end of what comes after the last one
        last = stage.epoch == stage.num_epochs
        ahead_s = max(0.0, checkpoint_every_s - BEFORE_THE_END_S) if last else metrics["seconds"]
        if time.monotonic() - saved_at + ahead_s >= checkpoint_every_s:
            save(now())
            good, saved_at, saved_epoch = None, time.monotonic(), stage.epoch
        elif not last:
            with clock.of("store"), with_sizes(execution, context):
                good = checkpoint.copied(now())  # the next epoch may spoil it
    with clock.of("arithmetic"), remembering(store, address), with_sizes(execution, context):
        files: dict[str, bytes | Path] = dict(stage.finish())
    with clock.of("store"):
        files |= records(execution, stage.final, history, seconds(), device, peak.record())
        store.publish(address, files, held.check)
    return metrics


def records(
    execution: Execution,
    final: dict[str, float],
    history: list[dict[str, Any]],
    seconds: float,
    device: str,
    memory: dict[str, int],
) -> dict[str, bytes]:
    """config.json and metrics.json, which every published execution has; memory: what `Peak` recorded."""
    how = {"seconds": seconds, "device": device, "num_threads": torch.get_num_threads(), "memory": memory}
    metrics = {"final": final, "history": history, **how}
    contents = {"config.json": execution.record(), "metrics.json": metrics}
    return {name: json.dumps(content, indent=1).encode() for name, content in contents.items()}


def context_of(execution: Execution, store: Store, device: str) -> Context:
    """What the stage sees; ValueError where what it builds on is not published."""
    return Context(
        series=_series(store.folder(f"series/{execution.dataset}")),
        upstreams={role: store.folder(address) for role, address in execution.upstreams.items()},
        seed=execution.seed,
        device=device,
    )


def build(execution: Execution, context: Context) -> Stage:
    """The stage of an execution before its first epoch."""
    module = stage_module(execution.kind)
    config = from_mapping(module.Config, execution.config, f"the settings of {execution.kind}")
    settle(getattr(config, "compute", Compute()), context.device)
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
