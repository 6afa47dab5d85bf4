"""What a plan costs: every execution from past ones or timed, and the whole on the slots there are."""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from dehazing.pipeline.execution import Execution
from studies.expected import Expected
from studies.investigation import Investigation
from studies.parameters import Parameter
from studies.past import Cost, History, signature
from studies.rehearsal import Rehearsal, rehearsal
from studies.resources import Resources


def makespan(jobs: Sequence[tuple[str, float, Collection[str]]], slots: int) -> float:
    """Seconds until all is done on `slots` side by side; jobs: (address, seconds, addresses that it waits for).

    A job starts as soon as a slot is free and what it waits for is done, in the order of the list, upstreams first.
    """
    done: dict[str, float] = {}
    waiting, running, free, now = list(jobs), list[tuple[float, str]](), slots, 0.0
    here = {address for address, _, _ in jobs}
    while waiting or running:
        ready = [job for job in waiting if all(other in done for other in job[2] if other in here)]
        for job in ready[:free]:
            waiting.remove(job)
            heapq.heappush(running, (now + job[1], job[0]))
            free -= 1
        assert running, "upstreams come first"
        now, address = heapq.heappop(running)
        done[address] = now
        free += 1
    return now


@dataclass(frozen=True)
class Work:
    """Executions together: how many, and of how many the cost is unknown; wall_s on the slots; slot_s their sum."""

    executions: int
    unknown: int
    wall_s: float
    slot_s: float
    published_bytes: float
    checkpoint_bytes: float


class Forecast:
    """Costs of the executions of a plan: from past ones, else timed once for all that should cost the same."""

    def __init__(
        self,
        investigation: Investigation,
        resources: Resources,
        studies: Mapping[str, Expected],
        parameters: Mapping[str, Sequence[Parameter]],
        confirmed: Iterable[Execution],
        timing: bool,
        resting: ExitStack,
    ) -> None:
        self.investigation, self.resources, self.studies = investigation, resources, studies
        self.parameters, self.timing, self.resting = parameters, timing, resting
        self.history = History(investigation.store)
        self.executions = {e.address: e for one in studies.values() for e in one.executions.values()}
        self.executions |= {execution.address: execution for execution in confirmed}
        self.num_timed = 0
        self._rehearsal: Rehearsal | None = None
        self._series: Cost | None = None
        self._costs: dict[str, Cost] = {}

    def series(self) -> Cost | None:
        """Of making the series; None where the store has it."""
        if self.investigation.store.has(f"series/{self.investigation.series}"):
            return None
        if not self.timing:
            return Cost(None, None, None, "unknown without timing")
        self._prepared()
        return self._series

    def cost(self, execution: Execution) -> Cost:
        """Of one execution on its slot."""
        searched = self._searched(execution.kind)
        key = signature(execution.kind, execution.config, searched)
        if key not in self._costs:
            past = self.history.cost(execution, searched, self.resources.device)
            self._costs[key] = past or self._timed(execution)
        return self._costs[key]

    def of(self, executions: Sequence[Execution]) -> list[dict[str, Any]]:
        """Executions that should cost the same, together: kind, how many, and the cost of each."""
        groups: dict[tuple[str, Cost], int] = {}
        for execution in executions:
            key = (execution.kind, self.cost(execution))
            groups[key] = groups.get(key, 0) + 1
        return [{"kind": kind, "num": num, **cost.record()} for (kind, cost), num in groups.items()]

    def work(self, executions: Sequence[Execution], max_hours: float | None = None) -> Work:
        """What executions cost together, side by side on the slots; max_hours: when no more are begun."""
        costs = [(execution, self.cost(execution)) for execution in executions]
        jobs = [(e.address, cost.seconds or 0.0, [*e.upstreams.values()]) for e, cost in costs]
        slots = self.resources.slots or 1
        return Work(
            executions=len(costs),
            unknown=sum(cost.seconds is None for _, cost in costs),
            wall_s=min(makespan(jobs, slots), math.inf if max_hours is None else 3600 * max_hours),
            slot_s=sum(seconds for _, seconds, _ in jobs),
            published_bytes=sum(cost.published_bytes or 0.0 for _, cost in costs),
            checkpoint_bytes=sum(sorted(cost.checkpoint_bytes or 0.0 for _, cost in costs)[-slots:]),
        )

    def totals(self, phases: Sequence[Work]) -> dict[str, Any]:
        """Of phases, one after the other: wall time, CPU- and GPU-seconds, bytes; what is unknown counts nothing."""
        series = self.series()
        series_s = series.seconds or 0.0 if series else 0.0
        series_bytes = series.published_bytes or 0.0 if series else 0.0
        slot_s = sum(phase.slot_s for phase in phases)
        return {
            "executions": sum(phase.executions for phase in phases),
            "unknown": sum(phase.unknown for phase in phases),
            "series_unknown": series is not None and series.seconds is None,
            "wall_s": series_s + sum(phase.wall_s for phase in phases),
            "cpu_s": series_s + slot_s * self.resources.num_cpus,
            "gpu_s": slot_s * self.resources.num_gpus,
            "disk_bytes": series_bytes
            + sum(phase.published_bytes for phase in phases)
            + max(phase.checkpoint_bytes for phase in phases),
        }

    def _searched(self, kind: str) -> frozenset[str]:
        """Settings of a kind that are searched, so that past executions may differ in them."""
        found = set()
        for name, one in self.studies.items():
            for parameter in self.parameters[name]:
                role, _, rest = parameter.name.partition("/")
                role, rest = (role, rest) if role in one.study.joint else (one.study.kind, parameter.name)
                if role == kind and parameter.num_values > 1:
                    found.add(rest.split("/")[0])
        return frozenset(found)

    def _timed(self, execution: Execution) -> Cost:
        if not self.timing:
            return Cost(None, None, None, "unknown: no past execution")
        prepared = self._prepared()
        if prepared is None:
            return Cost(None, None, None, "unknown: no past execution, and no GPU here to time it on")
        self.num_timed += 1
        return prepared.cost(execution)

    def _prepared(self) -> Rehearsal | None:
        if self.resources.device == "cuda" and not torch.cuda.is_available():
            self._series = self._series or Cost(None, None, None, "unknown")
            return None
        if self._rehearsal is None:
            self.investigation.progress.say("timing what no past execution tells (--no-timing leaves that out)")
            self._rehearsal = self.resting.enter_context(
                rehearsal(
                    self.investigation.store,
                    self.executions,
                    self.resources.device,
                    self.resources.num_cpus,
                    self.investigation.progress.say,
                )
            )
            self._series = self._rehearsal.prepare(self.investigation.dataset)
        return self._rehearsal
