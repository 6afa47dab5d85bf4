"""What a plan costs: every execution from past ones or timed, and the whole on the slots there are."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.together import can_share
from dehazing.stages import KINDS
from studies.budget import HOUR_S
from studies.investigation import Investigation
from studies.planning.expected import Expected
from studies.planning.parameters import Parameter
from studies.planning.past import Cost, History, signature
from studies.planning.rehearsal import Rehearsal, rehearsal
from studies.resources import Resources


def makespan(jobs: Sequence[tuple[str, float, Collection[str]]], slots: int) -> float:
    """Seconds until all is done on `slots` side by side; jobs: (address, seconds, addresses that it waits for).

    A job starts as soon as a slot is free and what it waits for is done, in the order of the list, upstreams first.
    """
    places = {address: place for place, (address, _, _) in enumerate(jobs)}
    waits_for = [{places[other] for other in others if other in places} for _, _, others in jobs]
    waited_for: dict[int, list[int]] = {}
    for place, others in enumerate(waits_for):
        for other in others:
            waited_for.setdefault(other, []).append(place)
    ready = [place for place, others in enumerate(waits_for) if not others]  # sorted, so a heap
    running, now = list[tuple[float, int]](), 0.0
    while ready or running:
        while ready and len(running) < slots:
            place = heapq.heappop(ready)
            heapq.heappush(running, (now + jobs[place][1], place))
        now, ended = heapq.heappop(running)
        for place in waited_for.get(ended, ()):
            waits_for[place].remove(ended)
            if not waits_for[place]:
                heapq.heappush(ready, place)
    return now


def batches(executions: Sequence[Execution], most: int) -> list[list[Execution]]:
    """The executions in their order, each with up to `most` in all that can be executed together with it."""
    result: list[list[Execution]] = []
    left = list(executions)
    while left:
        batch, others = [left[0]], []
        for number, execution in enumerate(left[1:], 1):
            if len(batch) == most:
                others += left[number:]
                break
            fits = all(can_share(one, execution) for one in batch)
            (batch if fits else others).append(execution)
        result.append(batch)
        left = others
    return result


@dataclass(frozen=True)
class Work:
    """Executions together: how many, and of how many the cost is unknown; wall_s on the slots, and of CPUs and GPUs.

    Seconds as far as the study's hours allow; without_limit_s: (wall_s, gpu_s) if they had no end.
    """

    executions: int
    unknown: int
    wall_s: float
    cpu_s: float
    gpu_s: float
    without_limit_s: tuple[float, float]
    published_bytes: float
    checkpoint_bytes: float


class Forecast:
    """Costs of the executions of a plan: from past ones, else timed once for all that should cost the same.

    resources: stage → what an execution of it runs on.
    """

    def __init__(
        self,
        investigation: Investigation,
        resources: Mapping[str, Resources],
        history: History,
        studies: Mapping[str, Expected],
        parameters: Mapping[str, Sequence[Parameter]],
        confirmed: Iterable[Execution],
        timing: bool,
        resting: ExitStack,
    ) -> None:
        self.investigation, self.resources, self.history, self.studies = investigation, resources, history, studies
        self.parameters, self.timing, self.resting = parameters, timing, resting
        self.executions = {e.address: e for one in studies.values() for e in one.executions.values()}
        self.executions |= {execution.address: execution for execution in confirmed}
        self.num_timed = 0
        self._rehearsal: Rehearsal | None = None
        self._series: Cost | None = None
        self._costs: dict[tuple[str, bool], Cost] = {}
        self._batches: dict[str, list[Execution]] = {}  # address → those that are executed with it, itself included
        for one in studies.values():
            for batch in batches(one.to_do, one.study.batch) if one.study.batch > 1 else ():
                self._batches |= {execution.address: batch for execution in batch if len(batch) > 1}

    def series(self) -> Cost | None:
        """Of making the series; None where the store has it."""
        if self.investigation.store.has(f"series/{self.investigation.series}"):
            return None
        if not self.timing:
            return Cost(None, None, None, "unknown without timing")
        self._prepared()
        return self._series

    def cost(self, execution: Execution) -> Cost:
        """Of one execution on its slot; its share where several are executed together."""
        searched = self._searched.get(execution.kind, set[str]())
        together = execution.address in self._batches
        key = (signature(execution.kind, execution.config, searched), together)
        if key not in self._costs:
            device, num_threads = self.resources[execution.kind].device, self._num_threads(execution.kind)
            past = self.history.cost(execution, searched, device, num_threads)
            self._costs[key] = past or self._timed(execution)
        return self._costs[key]

    def of(self, executions: Sequence[Execution]) -> list[dict[str, Any]]:
        """Executions that should cost the same, together: kind, how many, and the cost of each."""
        groups: dict[tuple[str, Cost], int] = {}
        for execution in executions:
            key = (execution.kind, self.cost(execution))
            groups[key] = groups.get(key, 0) + 1
        return [{"kind": kind, "num": num, **cost.record()} for (kind, cost), num in groups.items()]

    def work(self, executions: Sequence[Execution], of: Expected | None = None) -> Work:
        """What executions cost together, side by side on the slots; of: the study, whose hours may end it before.

        Where a study has more trials than were simulated, the rest is taken to cost the same.
        """
        costs = [(execution, self.cost(execution)) for execution in executions]
        slots = min((self.resources[execution.kind].slots or 1 for execution in executions), default=1)
        more = of.more if of and costs else 1.0
        wall_s = makespan(self._jobs(executions), slots) * more
        used = [(self.resources[execution.kind], cost.seconds or 0.0) for execution, cost in costs]
        cpu_s = sum(resources.num_cpus * seconds for resources, seconds in used) * more
        gpu_s = sum(resources.num_gpus * seconds for resources, seconds in used) * more
        share = self._share(of, wall_s, gpu_s) if of else 1.0
        return Work(
            executions=round(len(costs) * more),
            unknown=round(sum(cost.seconds is None for _, cost in costs) * more),
            wall_s=wall_s * share,
            cpu_s=cpu_s * share,
            gpu_s=gpu_s * share,
            without_limit_s=(wall_s, gpu_s),
            published_bytes=sum(cost.published_bytes or 0.0 for _, cost in costs) * more * share,
            checkpoint_bytes=sum(sorted(cost.checkpoint_bytes or 0.0 for _, cost in costs)[-slots:]),
        )

    def _jobs(self, executions: Sequence[Execution]) -> list[tuple[str, float, set[str]]]:
        """Pieces of work in the order of their first executions: one execution, or a batch under its first address."""
        jobs, taken = [], set[str]()
        wanted = {execution.address for execution in executions}
        for execution in executions:
            if execution.address in taken:
                continue
            batch = [e for e in self._batches.get(execution.address, [execution]) if e.address in wanted]
            taken |= {e.address for e in batch}
            seconds = sum(self.cost(e).seconds or 0.0 for e in batch)
            jobs.append((execution.address, seconds, {address for e in batch for address in e.upstreams.values()}))
        return jobs

    def _share(self, one: Expected, wall_s: float, gpu_s: float) -> float:
        """The part of a study's work that its hours have room for, after those that are spent."""
        limits = (one.study.max_hours, one.study.max_gpu_hours)
        costs = (wall_s, gpu_s)
        left = [
            max(0.0, limit * HOUR_S - spent) / cost
            for limit, spent, cost in zip(limits, one.spent, costs, strict=True)
            if limit is not None and cost > 0
        ]
        return min(1.0, *left) if left else 1.0

    def totals(self, phases: Sequence[Work]) -> dict[str, Any]:
        """Of phases, one after the other: wall time, CPU- and GPU-seconds, bytes; what is unknown counts nothing."""
        series = self.series()
        series_s = series.seconds or 0.0 if series else 0.0
        series_bytes = series.published_bytes or 0.0 if series else 0.0
        return {
            "executions": sum(phase.executions for phase in phases),
            "unknown": sum(phase.unknown for phase in phases),
            "series_unknown": series is not None and series.seconds is None,
            "wall_s": series_s + sum(phase.wall_s for phase in phases),
            "cpu_s": series_s + sum(phase.cpu_s for phase in phases),
            "gpu_s": sum(phase.gpu_s for phase in phases),
            "disk_bytes": series_bytes
            + sum(phase.published_bytes for phase in phases)
            + max(phase.checkpoint_bytes for phase in phases),
        }

    @cached_property
    def _searched(self) -> dict[str, set[str]]:
        """kind → its settings that are searched, so that past executions may differ in them."""
        found: dict[str, set[str]] = {kind: set() for kind in KINDS}
        for name, one in self.studies.items():
            for parameter in self.parameters[name]:
                role, _, rest = parameter.name.partition("/")
                role, rest = (role, rest) if role in one.study.joint else (one.study.kind, parameter.name)
                if parameter.num_values > 1:
                    found[role].add(rest.split("/")[0])
        return found

    def _timed(self, execution: Execution) -> Cost:
        if not self.timing:
            return Cost(None, None, None, "unknown: no past execution")
        prepared = self._prepared()
        if prepared is None:
            return Cost(None, None, None, "unknown: no past execution, and no GPU here to time it on")
        self.num_timed += 1
        torch.set_num_threads(self._num_threads(execution.kind))
        return prepared.cost(execution, self._batches.get(execution.address, ()))

    def _num_threads(self, kind: str) -> int:
        """The most that a study gives to such a stage."""
        num_cpus = self.resources[kind].num_cpus
        return max(one.study.num_threads(kind, num_cpus) for one in self.studies.values())

    def _prepared(self) -> Rehearsal | None:
        if any(of.device == "cuda" for of in self.resources.values()) and not torch.cuda.is_available():
            self._series = self._series or Cost(None, None, None, "unknown")
            return None
        if self._rehearsal is None:
            self.investigation.progress.say("timing what no past execution tells (--no-timing leaves that out)")
            self._rehearsal = self.resting.enter_context(
                rehearsal(
                    self.investigation.store,
                    self.executions,
                    lambda kind: self.resources[kind].device,
                    self.investigation.scale.num_cpus,
                    self.investigation.progress.say,
                )
            )
            self._series = self._rehearsal.prepare(self.investigation.dataset)
        return self._rehearsal
