"""Several executions as one piece of work: stages that can share it, published one by one as if each ran alone."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace

from dehazing.pipeline.clock import Clock
from dehazing.pipeline.execute import build, context_of, executing, records
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.failure import comes_again, with_sizes
from dehazing.pipeline.lease import Busy, leases
from dehazing.pipeline.memory import Peak
from dehazing.pipeline.store import Store
from dehazing.stages import stage_module
from dehazing.strict import from_mapping, to_mapping


def can_share(first: Execution, other: Execution) -> bool:
    """Whether the two can be executed together: a stage that joins settings, on the same networks and images.

    Some need a network that others do not: of several executions, each must be able to share with each.
    """
    if (first.kind, first.dataset, first.seed) != (other.kind, other.dataset, other.seed):
        return False
    if not hasattr(stage_module(first.kind), "joined"):
        return False
    return all(first.upstreams.get(role, address) == address for role, address in other.upstreams.items())


def execute_together(
    executions: Sequence[Execution],
    store: Store,
    device: str = "cpu",
    clock: Clock | None = None,
    wait_s: float = math.inf,
) -> None:
    """Makes sure that executions which `can_share` are published, each at its own address.

    Where they fail together, each is tried alone, so that only those fail that would; their reasons are remembered
    in the store. Raises what may go well another time: memory, a lost lease, a store that cannot be written; Busy where
    somebody else is still at one of them after `wait_s`.
    """
    clock = clock or Clock()
    missing = [execution for execution in executions if not store.has(execution.address)]
    with ExitStack() as stack:
        with clock.of("waiting"):
            held = stack.enter_context(leases(store, [execution.address for execution in missing], wait_s=wait_s))
        missing = [e for e in missing if not store.has(e.address) and store.failure(e.address) is None]
        if not missing:
            return
        try:
            parts = _made(missing, store, device, clock)
        except Exception as error:
            if not comes_again(error):
                raise
            parts = None
        if parts is not None:
            with clock.of("store"):
                for execution, files in zip(missing, parts, strict=True):
                    store.publish(execution.address, files, held[execution.address].check)
            return
    busy = [execution for execution in missing if not _alone(execution, store, device, clock, wait_s)]
    if busy:
        raise Busy(f"Being made by somebody else: {', '.join(execution.address for execution in busy)}.")


def _alone(execution: Execution, store: Store, device: str, clock: Clock, wait_s: float) -> bool:
    """False where somebody else is at it."""
    try:
        with closing(executing(execution, store, device, clock=clock, wait_s=wait_s)) as epochs:
            for _ in epochs:
                pass
    except Busy:
        return False
    except Exception as error:
        if not comes_again(error) or store.failure(execution.address) is None:
            raise
    return True


def _made(executions: Sequence[Execution], store: Store, device: str, clock: Clock) -> list[dict[str, bytes]]:
    """The files of every execution, made in one go."""
    begun_s, peak = time.monotonic(), Peak(device)
    kind = executions[0].kind
    module = stage_module(kind)
    configs = [from_mapping(module.Config, e.config, f"the settings of {kind}") for e in executions]
    upstreams = {role: address for e in executions for role, address in e.upstreams.items()}
    assert all(e.upstreams.items() <= upstreams.items() for e in executions), "they cannot share"
    whole = replace(executions[0], config=to_mapping(module.joined(configs)), upstreams=upstreams)
    with clock.of("loading"):
        context = context_of(whole, store, device)
        with with_sizes(whole, context):
            stage = build(whole, context)
    with clock.of("arithmetic"), with_sizes(whole, context):
        stage.train_epoch()
        parts = stage.finish_each(configs)  # type: ignore[attr-defined]  # of the stages that have `joined`
    seconds = (time.monotonic() - begun_s) / len(executions)
    epoch = {"epoch": stage.epoch, "num_epochs": stage.num_epochs, "seconds": seconds}
    memory = peak.record()  # of all of them together, as nothing is known of each
    return [
        {**files, **records(execution, final, [{**epoch, **final}], seconds, device, memory)}
        for execution, (files, final) in zip(executions, parts, strict=True)
    ]
