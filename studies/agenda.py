"""What a search has asked for and not finished: which execution can be started, which waits, what has failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import optuna

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.lease import holder
from dehazing.pipeline.store import Store
from dehazing.pipeline.together import can_share

MAX_LOSSES = 3  # of the process of one execution; the next one is its own fault


@dataclass
class Asked:
    """A trial under way: the executions that it needs, upstreams first, its own result last."""

    trial: optuna.Trial
    pipeline: Sequence[Execution]
    reported: set[int] = field(default_factory=set)  # epochs told to Optuna, those before an interruption included

    @property
    def target(self) -> str:
        return self.pipeline[-1].address


class Agenda:
    """Trials under way, and the executions that they share. An execution is started once, however many ask for it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.asked: dict[int, Asked] = {}  # trial number → what it asks for
        self.started: dict[str, Execution] = {}  # address → what this search has handed out
        self.alone: set[str] = set()  # ran out of memory beside others: tried once more, alone
        self._there: set[str] = set()  # published, as far as known
        self._failed: dict[str, str] = {}  # address → reason
        self._elsewhere: set[str] = set()  # somebody else works on it
        self._losses: Counter[str] = Counter()
        self._ran_alone: set[str] = set()

    def add(self, asked: Asked) -> None:
        """A trial more; what the store says of its executions is looked up."""
        self.asked[asked.trial.number] = asked
        self._look(execution.address for execution in asked.pipeline)

    def look(self) -> None:
        """Asks the store again: others may have published, failed or begun."""
        self._look({e.address for asked in self.asked.values() for e in asked.pipeline})

    def settled(self) -> list[tuple[Asked, str | None]]:
        """Takes out the trials whose target is published (None), or cannot be made (the reason)."""
        result = [(asked, self._reason(asked)) for asked in self.asked.values()]
        ended = [(asked, reason) for asked, reason in result if reason is not None or asked.target in self._there]
        for asked, _ in ended:
            del self.asked[asked.trial.number]
        return ended

    def start(self, most: int = 1) -> list[Execution]:
        """What can be started now: nothing, one execution, or up to `most` that can be executed together.

        First what most others wait for, then by the trial's number.
        """
        ready = sorted(self._ready(), key=lambda entry: (-entry[0], entry[1]))
        alone = [entry for entry in ready if entry[2].address in self.alone]
        if not ready or (self.started and (alone or self.alone & set(self.started))):
            return []
        if alone:
            ready, most = alone, 1
        chosen = [ready[0][2]]
        for _, _, execution in ready[1:]:
            if len(chosen) < most and all(can_share(other, execution) for other in chosen):
                chosen.append(execution)
        self.started |= {execution.address: execution for execution in chosen}
        return chosen

    def done(self, executions: Sequence[Execution]) -> None:
        """A piece of work has ended; the store says how."""
        for execution in executions:
            self.started.pop(execution.address, None)
        self._look(execution.address for execution in executions)
        self.alone -= self._there | set(self._failed)

    def busy(self, executions: Sequence[Execution]) -> None:
        """Somebody else is at them: they rest until the next look."""
        self.done(executions)
        self._elsewhere |= {e.address for e in executions} - self._there - set(self._failed)

    def ended(self, executions: Sequence[Execution]) -> None:
        """A piece of work says that it has ended well: what it did not publish counts as lost.

        Its process may run other code than this one, changed meanwhile, and so publish under another fingerprint.
        """
        self.done(executions)
        missing = {e.address for e in executions} - self._there - set(self._failed) - self._elsewhere
        lost = [e for e in executions if e.address in missing and self._is_wanted(e)]
        self.lost(lost, "it ended without a result; the code must not change while a study runs")

    def failed(self, executions: Sequence[Execution], reason: str) -> None:
        """A piece of work has failed: each of its executions that was not published, unless the store knows better."""
        self.done(executions)
        for execution in executions:
            if execution.address not in self._there:
                self._failed.setdefault(execution.address, reason)

    def out_of_memory(self, executions: Sequence[Execution], reason: str) -> None:
        """Memory ran out: once more, alone; a second time it is a failure."""
        again = [e for e in executions if e.address not in self._ran_alone]
        twice = [e for e in executions if e.address in self._ran_alone]
        for execution in twice:
            self.store.remember_failure(execution.address, reason)
        self.done(executions)
        for execution in again:
            self.alone.add(execution.address)
            self._ran_alone.add(execution.address)

    def lost(self, executions: Sequence[Execution], reason: str) -> None:
        """The process of a piece of work was lost: it is tried again, but not for ever."""
        for execution in executions:
            self._losses[execution.address] += 1
        self.done(executions)
        for address in [e.address for e in executions if self._losses[e.address] > MAX_LOSSES]:
            if address not in self._there:
                self._failed[address] = f"its process was lost {self._losses[address]} times; the last time: {reason}"

    def of(self, address: str) -> list[Asked]:
        """The trials whose target this is."""
        return [asked for asked in self.asked.values() if asked.target == address]

    def reason(self, address: str) -> str | None:
        """Why an execution cannot be made, where that is known."""
        return self._failed.get(address)

    def drop(self, asked: Asked) -> None:
        """A trial that was stopped early."""
        del self.asked[asked.trial.number]

    def _is_wanted(self, execution: Execution) -> bool:
        return any(execution in asked.pipeline for asked in self.asked.values())

    def num_ready(self) -> int:
        """Executions that could be started now."""
        return len(self._ready())

    def _ready(self) -> list[tuple[int, int, Execution]]:
        """(how many stages wait for it in a row, trial number, execution), each execution once."""
        found: dict[str, tuple[int, int, Execution]] = {}
        for number, asked in sorted(self.asked.items()):
            heights = _heights(asked.pipeline)
            for execution in asked.pipeline:
                address = execution.address
                if address in found:
                    continue
                if address in self._there or address in self.started or address in self._elsewhere:
                    continue
                made_here = {other.address for other in asked.pipeline} & set(execution.upstreams.values())
                if made_here <= self._there:
                    found[address] = (heights[address], number, execution)
        return list(found.values())

    def _reason(self, asked: Asked) -> str | None:
        for execution in asked.pipeline:
            reason = self._failed.get(execution.address)
            if reason is not None:
                if execution.address == asked.target:
                    return reason
                return f"{execution.kind} {execution.fingerprint}, which it builds on, failed: {reason}"
        return None

    def _look(self, addresses: Iterable[str]) -> None:
        for address in addresses:
            if address in self._there or address in self.started:
                continue
            if self.store.has(address):
                self._there.add(address)
                self._elsewhere.discard(address)
                self._failed.pop(address, None)  # somebody else was luckier
                continue
            reason = self.store.failure(address)
            if reason is not None:
                self._failed[address] = reason
            if holder(self.store, address) is None:
                self._elsewhere.discard(address)
            else:
                self._elsewhere.add(address)


def _heights(pipeline: Sequence[Execution]) -> dict[str, int]:
    """address → the longest chain of stages that wait for it."""
    heights = {execution.address: 0 for execution in pipeline}
    for execution in reversed(pipeline):
        for upstream in execution.upstreams.values():
            if upstream in heights:
                heights[upstream] = max(heights[upstream], heights[execution.address] + 1)
    return heights
