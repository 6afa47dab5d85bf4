"""The confirmation's executions on Ray: each once and after what it builds on; what waits holds no slot."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import asdict
from typing import Any, NamedTuple

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store, Unwritable, open_store
from studies import cluster
from studies.agenda import Agenda, Asked
from studies.cluster import Watch
from studies.full_disks import FullDisks
from studies.overhead import Overhead
from studies.progress import Progress, time_left
from studies.resources import asked_of_ray, device_of
from studies.scale import Scale
from trainables import node

LOOK_EVERY_S = 5.0  # at the store, for what others have published or begun
Key = tuple[str, int]  # (instance, seed)


class Number(NamedTuple):
    """What stands for a trial on the agenda, which asks for its number alone."""

    number: int


def confirm(
    wanted: Mapping[Key, Execution],
    store: Store,
    scale: Scale,
    slots: Mapping[str, int],
    expected_s: Mapping[str, float],
    progress: Progress,
    overhead: Overhead,
) -> dict[Key, str]:
    """Execute what the store has not; returns the reasons of those that failed.

    wanted: (instance, seed) → execution, upstreams first. slots: stage → how many of its executions run side by side;
    one of them takes that part of all there is. expected_s: instance → seconds, for the time left.
    What builds on something that failed has its reason. An execution that ran out of memory is tried once more,
    alone; one whose process or lease was lost, a few times. Unwritable where nothing more can be made at all:
    the store cannot be written or is damaged, or workers run other code.
    """
    import ray

    missing: dict[str, list[Key]] = {}
    for key, execution in wanted.items():
        if not store.has(execution.address):
            missing.setdefault(execution.address, []).append(key)
    agenda = _agenda({wanted[keys[0]].address: wanted[keys[0]] for keys in missing.values()}, store)
    weights = {address: expected_s.get(keys[0][0], 30.0) for address, keys in missing.items()}
    alike = cluster.alike(store.place)
    task = ray.remote(max_retries=0)(_execute)
    running: dict[Any, Execution] = {}
    resting: list[Execution] = []  # that somebody else began meanwhile
    failed: dict[Key, str] = {}
    num_ended, total, done = 0, sum(weights.values()), 0.0
    begun_s = looked_s = time.monotonic()
    watch, disks = Watch(), FullDisks()
    try:
        while agenda.asked or running:
            for asked, reason in agenda.settled():
                num_ended, done = num_ended + 1, done + weights[asked.target]
                if reason is not None:
                    failed |= dict.fromkeys(missing[asked.target], _first_reason(asked, agenda) or reason)
            while _has_room(running.values(), slots, scale) and (work := agenda.start()):
                fields, own = asdict(work[0]), scale.of(work[0].kind)
                memory = int(asked_of_ray(own).get("memory", 0)) or None
                placed = task.options(num_cpus=own.num_cpus, num_gpus=own.num_gpus, memory=memory, **disks.options())
                ref = placed.remote(work[0].address, fields, store.place, alike, device_of(own), own.num_cpus)
                running[ref] = work[0]
            left = time_left(time.monotonic() - begun_s, done, total) or total / min(slots.values())
            progress.show("confirmation", num_ended, len(missing), len(running), left_s=left)
            watch.look()
            for ref in _ready([*running]):
                execution = running.pop(ref)
                outcome = _outcome(ref)
                overhead.worked(int("busy" not in outcome), outcome.get("spent", {}), outcome.get("busy_s", 0.0))
                if "stop" in outcome:
                    raise Unwritable(outcome["stop"])
                if "full" in outcome:
                    if not disks.note(outcome["node"], asked_of_ray(scale.of(execution.kind))):
                        raise Unwritable(outcome["full"])
                    progress.say(f"confirmation: {outcome['full']} Going on elsewhere: {execution.address}")
                _note(agenda, execution, outcome, resting)
            if _has_room(running.values(), slots, scale) and time.monotonic() - looked_s > LOOK_EVERY_S:
                agenda.done(resting)
                resting.clear()
                agenda.look()
                looked_s = time.monotonic()
    except BaseException:
        for ref in running:
            ray.cancel(ref, force=False)  # it gives its lease back; the checkpoint before is kept
        if running:
            ray.wait([*running], num_returns=len(running), timeout=5.0)
        raise
    finally:
        overhead.searched(time.monotonic() - begun_s, 0.0)
    return failed


def _has_room(running: Iterable[Execution], slots: Mapping[str, int], scale: Scale) -> bool:
    """Whether one more can run beside others, of whichever stage: Ray would let it wait, with its slot taken."""
    parts = [1 / slots[execution.kind] for execution in running]
    few = scale.num_parallel is None or len(parts) < scale.num_parallel
    return few and sum(parts) + 1 / max(slots.values()) < 1 + 1e-9


def _agenda(missing: Mapping[str, Execution], store: Store) -> Agenda:
    """The missing ones with all that they build on; the last first, so that what most wait for is started first."""
    agenda = Agenda(store)
    for number, execution in enumerate(reversed([*missing.values()])):
        agenda.asked[number] = Asked(Number(number), _pipeline(execution, missing))  # type: ignore[arg-type]
    agenda.look()
    return agenda


def _pipeline(target: Execution, missing: Mapping[str, Execution]) -> list[Execution]:
    """What is missing of what the target builds on, upstreams first, then the target."""
    above = [missing[address] for address in target.upstreams.values() if address in missing]
    found = {execution.address: execution for one in above for execution in _pipeline(one, missing)}
    return [*found.values(), target]


def _first_reason(asked: Asked, agenda: Agenda) -> str | None:
    reasons = (agenda.reason(execution.address) for execution in asked.pipeline)
    return next((reason for reason in reasons if reason is not None), None)


def _note(agenda: Agenda, execution: Execution, outcome: Mapping[str, Any], resting: list[Execution]) -> None:
    """Tells the agenda how a piece of work has ended."""
    if "busy" in outcome:
        resting.append(execution)
    elif "lost" in outcome:
        agenda.lost([execution], outcome["lost"])
    elif outcome.get("out_of_memory"):
        agenda.out_of_memory([execution], outcome["failed"])
    elif "full" in outcome:
        agenda.done([execution])
    elif "failed" in outcome:
        agenda.failed([execution], outcome["failed"])
    else:
        agenda.ended([execution])


def _ready(refs: list[Any]) -> list[Any]:
    """Those that have ended, after a second at most."""
    import ray

    if not refs:
        time.sleep(1.0)
        return []
    return ray.wait(refs, num_returns=1, timeout=1.0)[0]


def _outcome(ref: Any) -> dict[str, Any]:
    import ray

    try:
        return ray.get(ref)
    except ray.exceptions.RayError as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[-300:]}"
        if isinstance(error, ray.exceptions.OutOfMemoryError):  # Ray has killed it, before the system runs out
            return {"failed": reason, "out_of_memory": True}
        return {"lost": reason}


def _execute(
    address: str, fields: dict[str, Any], place: str, alike: Mapping[str, str], device: str, num_threads: int
) -> dict[str, Any]:
    """In a worker: make sure that the execution is published, or say why it is not.

    busy, failed, out_of_memory, full (with the node), stop: as `ending_of` says; what may go well another time, or
    elsewhere, is raised.
    """
    import torch

    from dehazing.pipeline.clock import Clock
    from dehazing.pipeline.execute import executing
    from dehazing.pipeline.failure import ending_of
    from dehazing.stages.fields import forget

    node.require_alike(alike, place)
    torch.set_num_threads(num_threads)
    clock, begun_s = Clock(), time.monotonic()
    outcome: dict[str, Any] = {}
    try:
        execution = Execution.at(address, fields)
        with closing(executing(execution, open_store(place), device, clock=clock, wait_s=0.0)) as epochs:
            for _ in epochs:
                pass  # epochs are in the published history
    except Exception as error:
        outcome = ending_of(error, place)
    if "full" in outcome:
        outcome["node"] = node.node_id()
    if outcome.get("out_of_memory"):
        forget()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()  # the process may be used again
    return {**outcome, "spent": clock.seconds, "busy_s": time.monotonic() - begun_s}
