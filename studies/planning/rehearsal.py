"""Timed first epochs: what an execution costs on this machine, tried at a few steps in a store of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dehazing.data.dataset import DatasetConfig, with_scale
from dehazing.data.simulator import SimulatedConfig
from dehazing.data.synthetic import SyntheticConfig
from dehazing.pipeline.execute import execute, executing
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.failure import comes_again, is_out_of_memory, reason_of
from dehazing.pipeline.series import ensure_series, series_fingerprint
from dehazing.pipeline.store import Store
from dehazing.pipeline.together import execute_together
from dehazing.stages import stage_module
from dehazing.strict import from_mapping
from studies.planning.past import Cost, signature
from studies.scratch import link, scratch_store

SERIES_S = 30.0  # a simulation that takes longer is not made whole for a forecast
NUM_FEW = 12  # fields that are simulated in a moment
FEW, ENOUGH_S, MOST = 2, 0.5, 20  # steps of the short run; seconds and steps that the longer one may have
SOME = 4  # configurations of a loop that are timed
SOME_TOGETHER = 8  # executions of a batch that are timed
KEPT = 2  # checkpoints that lie in the store at once


class Rehearsal:
    """Executions cut short, in a scratch store that has links to what the real one holds.

    series_cost: of making the series; None where the store has it. known: address → execution, of upstreams that are
    not published; they are made with one step each, as their shapes are all that matters.
    """

    def __init__(
        self,
        scratch: Store,
        source: Store,
        known: Mapping[str, Execution],
        device_of: Callable[[str], str],
        say: Callable[[str], None],
    ) -> None:
        self.scratch, self.source, self.known, self.device_of, self._say = scratch, source, known, device_of, say
        self.series, self.series_cost, self._part = "", None, ""
        self._made: dict[str, str] = {}  # signature and upstreams in the scratch store → address there

    def prepare(self, dataset: DatasetConfig) -> Cost | None:
        """Links the series, or makes it; returns what making it costs, None where the store has it."""
        self.series = series_fingerprint(dataset)
        if self.source.has(f"series/{self.series}"):
            link(self.scratch, self.source, f"series/{self.series}")
            return None
        fewer, share = _affordable(dataset)
        self._say("timing: the series")
        started = time.monotonic()
        self.series = ensure_series(fewer, self.scratch, progress=False)
        seconds = (time.monotonic() - started) / share
        if share < 1:
            self._part = f" on {share:.0%} of the fields, so a little low"
        size = self._bytes(f"series/{self.series}") / share
        return Cost(seconds, size, 0.0, "timed" if share == 1 else f"timed on {share:.0%} of the fields")

    def cost(self, execution: Execution, together: Sequence[Execution] = ()) -> Cost:
        """Seconds, published bytes and checkpoints of an execution, extrapolated from a few steps of an epoch.

        together: the batch in which it is executed; the cost is its share of the whole.
        """
        self._say(f"timing: {execution.kind}")
        try:
            if len(together) > 1:
                return self._batch([self._here(one) for one in together[:SOME_TOGETHER]], len(together))
            execution = self._here(execution)
            timed, last = (self._loop if "configurations" in execution.config else self._training)(execution)
        except Exception as error:
            if not comes_again(error) and not is_out_of_memory(error):
                raise
            return Cost(None, None, None, f"unknown, as its first epoch failed: {reason_of(error)}")
        self._made.setdefault(_alike(execution), last.address)
        return replace(timed, source=f"timed{self._part}")

    def _here(self, execution: Execution) -> Execution:
        upstreams = {role: self._upstream(address) for role, address in execution.upstreams.items()}
        return replace(execution, dataset=self.series, upstreams=upstreams)

    def _batch(self, executions: Sequence[Execution], num: int) -> Cost:
        """Each one's share; of a large batch, a part is taken for the whole, which shares a little more."""
        while any(self.scratch.has(execution.address) for execution in executions):
            executions = [replace(execution, seed=execution.seed + 1) for execution in executions]
        started = time.monotonic()
        execute_together(executions, self.scratch, self.device_of(executions[0].kind))
        seconds = (time.monotonic() - started) / len(executions)
        for execution in executions:
            reason = self.scratch.failure(execution.address)
            if reason is not None:
                return Cost(None, None, None, f"unknown, as one of a batch failed: {reason}")
        num_bytes = sum(self._bytes(execution.address) for execution in executions) / len(executions)
        part = f", {len(executions)} of them" if len(executions) < num else ""
        return Cost(seconds, num_bytes, 0.0, f"timed{self._part}, {num} together{part}")

    def _training(self, execution: Execution) -> tuple[Cost, _Run]:
        """seconds = set-up and end + epochs · (a + b · steps)."""
        config = execution.config
        few_s, checkpoint_bytes = self._begin(_cut(execution, num_epochs=2, steps_per_epoch=FEW))
        more = min(MOST, 2 * FEW + int(ENOUGH_S / max(few_s / FEW, 1e-6)))
        longer = self._run(_cut(execution, num_epochs=1, steps_per_epoch=more))
        step_s = max(0.0, (longer.epoch_s - few_s) / (more - FEW))
        epoch_s = max(0.0, few_s - FEW * step_s) + step_s * config["steps_per_epoch"]
        seconds = longer.around_s + config["num_epochs"] * epoch_s
        return Cost(seconds, longer.num_bytes, KEPT * checkpoint_bytes, ""), longer

    def _loop(self, execution: Execution) -> tuple[Cost, _Run]:
        """An evaluation; of many configurations a few, from which the rest follows."""
        all_of_them = execution.config["configurations"]
        one = self._run(_cut(execution, configurations=all_of_them[:1]))
        num = min(SOME, len(all_of_them))
        if num == 1:
            return Cost(one.around_s + one.epoch_s, one.num_bytes, 0.0, ""), one
        some = self._run(_cut(execution, configurations=all_of_them[:: len(all_of_them) // num][:num]))
        share = (len(all_of_them) - 1) / (num - 1)
        seconds = one.epoch_s + max(0.0, some.epoch_s - one.epoch_s) * share
        num_bytes = one.num_bytes + max(0.0, some.num_bytes - one.num_bytes) * share
        return Cost(some.around_s + seconds, num_bytes, 0.0, ""), some

    def _run(self, execution: Execution) -> _Run:
        while self.scratch.has(execution.address):  # another execution, cut to the same length
            execution = replace(execution, seed=execution.seed + 1)
        started, epochs_s = time.monotonic(), list[float]()
        device = self.device_of(execution.kind)
        execute(execution, self.scratch, device, lambda epoch: epochs_s.append(epoch["seconds"]))
        around_s = time.monotonic() - started - sum(epochs_s)
        return _Run(execution.address, sum(epochs_s), around_s, self._bytes(execution.address))

    def _begin(self, execution: Execution) -> tuple[float, int]:
        """Seconds of the first epoch, and the bytes of the checkpoint that is left when it is stopped there."""
        with closing(executing(execution, self.scratch, self.device_of(execution.kind))) as epochs:
            seconds = next(epochs)["seconds"]
        folder = self.scratch.partial(execution.address)
        return seconds, sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    def _upstream(self, address: str) -> str:
        """The address in the scratch store of what plays an upstream."""
        if self.source.has(address):
            link(self.scratch, self.source, address)
            return address
        execution = self._here(self.known[address])
        alike = _alike(execution)
        if alike not in self._made:
            short = _cut(execution, num_epochs=1, steps_per_epoch=1)
            execute(short, self.scratch, self.device_of(short.kind))
            self._made[alike] = short.address
        return self._made[alike]

    def _bytes(self, address: str) -> int:
        manifest = self.scratch.manifest(address)
        assert manifest is not None, address
        return sum(entry["size"] for entry in manifest["files"].values())


def _alike(execution: Execution) -> str:
    """Equal for what can stand for each other: a network that is trained on latents belongs to its own HVAE alone."""
    upstreams = " ".join(f"{role}={address}" for role, address in sorted(execution.upstreams.items()))
    return f"{signature(execution.kind, execution.config)} {upstreams}"


@dataclass(frozen=True)
class _Run:
    address: str
    epoch_s: float
    around_s: float
    num_bytes: int


@contextmanager
def rehearsal(
    source: Store,
    known: Mapping[str, Execution],
    device_of: Callable[[str], str],
    num_threads: int,
    say: Callable[[str], None],
) -> Iterator[Rehearsal]:
    """A rehearsal, each stage on its device, on as many threads as a trial has; nothing of it is left."""
    threads = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        with scratch_store(source) as scratch:
            yield Rehearsal(scratch, source, known, device_of, say)
    finally:
        torch.set_num_threads(threads)


def _cut(execution: Execution, **settings: Any) -> Execution:
    """With other settings, and of its upstreams those that they need."""
    module, config = stage_module(execution.kind), {**execution.config, **settings}
    roles = module.needs(from_mapping(module.Config, config, "a shorter run"))
    return replace(execution, config=config, upstreams={role: execution.upstreams[role] for role in roles})


def _affordable(dataset: DatasetConfig) -> tuple[DatasetConfig, float]:
    """A dataset that is made in half a minute, and its share of the fields."""
    source = dataset.source if isinstance(dataset, SyntheticConfig) else dataset
    if not isinstance(source, SimulatedConfig) or source.object != "lines":
        return dataset, 1.0
    num = {split: getattr(source.num_fields, split) for split in ("train", "validation", "test")}

    def with_fields(fields: Mapping[str, int]) -> DatasetConfig:
        changes = {"num_fields": dict(fields)}
        return with_scale(dataset, {"source": changes} if isinstance(dataset, SyntheticConfig) else changes)

    if sum(num.values()) <= NUM_FEW:
        return dataset, 1.0
    with scratch_store(Store(Path())) as trial:
        ensure_series(with_fields(dict.fromkeys(num, 1)), trial, progress=False)  # also warms up
        started = time.monotonic()
        ensure_series(with_fields({**dict.fromkeys(num, 1), "train": 4}), trial, progress=False)
        field_s = (time.monotonic() - started) / 6
    share = min(1.0, SERIES_S / (field_s * sum(num.values())))
    return (dataset, 1.0) if share > 0.5 else (with_fields({k: max(2, int(v * share)) for k, v in num.items()}), share)
