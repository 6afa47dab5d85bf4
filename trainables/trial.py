"""A piece of work as a Ray Tune class trainable: setup → generator of epochs, step → the next epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import psutil
import torch

from dehazing.pipeline.clock import Clock
from dehazing.pipeline.execute import executing
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.failure import ending_of, full_here
from dehazing.pipeline.lease import LeaseLost, go_on_watching
from dehazing.pipeline.store import Unwritable, open_store
from dehazing.pipeline.together import execute_together
from dehazing.stages import fields
from trainables.node import node_id, require_alike
from trainables.reused import Reused

MIB = 2**20


class Trial(Reused):
    """Trains or evaluates `config["executions"]`, whose products go to the store at `config["store"]`.

    config: store (what `open_store` takes), executions (address → the fields of one Execution, or of several that can
    be executed together), device, num_threads, watched (address → what the driver has seen of a silent lease),
    alike (what this node must have as the driver has it; it may have joined the cluster after the start). One
    `step` is one epoch; the last result carries `done=True`; `spent` are the seconds by part so far. What was made is
    in the store, and so is why something failed.
    `failed`, `out_of_memory`, `busy` (somebody else is at it), `full` (the disk of `node`, so another one must go on)
    and `stop` (nothing can be made at all, for the reason given) say what ended this piece of work, and leave the actor
    warm for the next one.
    """

    kind: ClassVar[str] = ""  # empty: any
    _stop = ""

    def setup(self, config: Mapping[str, Any]) -> None:
        torch.set_num_threads(config.get("num_threads", 1))
        if torch.cuda.is_initialized():
            torch.cuda.reset_peak_memory_stats()
        self._clock, self._place = Clock(), str(config["store"])
        self._epochs = self._working(config, self._clock)

    def step(self) -> dict[str, Any]:
        ending: dict[str, Any] = {"stop": self._stop} if self._stop else {}
        try:
            for metrics in self._epochs if not ending else ():
                return {**metrics, **self._figures()}
        except Exception as error:
            ending = ending_of(error, self._place)  # raises where the process is to go, and the work handed out again
        if "full" in ending:
            ending["node"] = node_id()
        if ending.get("out_of_memory"):
            fields.forget()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # what the next one gets may be on another kind of stage
        return {**ending, **self._figures(), "done": True}

    def _working(self, config: Mapping[str, Any], clock: Clock) -> Iterator[dict[str, Any]]:
        if config.get("alike"):
            require_alike(config["alike"], config["store"])
        executions = [Execution.at(address, fields) for address, fields in config["executions"].items()]
        assert all(execution.kind == self.kind for execution in executions if self.kind), f"{self.kind}: {executions}"
        store, device = open_store(config["store"]), config.get("device", "cpu")
        for address, seen in config.get("watched", {}).items():
            go_on_watching(store, address, seen)
        if len(executions) > 1:
            execute_together(executions, store, device, clock, wait_s=0.0)
            return
        yield from executing(executions[0], store, device, clock=clock, wait_s=0.0)

    def cleanup(self) -> None:
        """Close the generator, which saves a checkpoint and gives the lease back."""
        self._stop = self._stop or self._closed()

    def _closed(self) -> str:
        close = getattr(self._epochs, "close", None)
        try:
            if close is not None:
                close()
        except LeaseLost:
            return ""  # somebody else has taken the work over
        except Exception as error:
            if full_here(error, self._place):
                return ""  # whoever goes on has the checkpoint before
            if isinstance(error, Unwritable):
                return str(error)
            raise
        return ""

    def _figures(self) -> dict[str, Any]:
        """Where the time went, and memory of this process: what it holds now, and the most it held of a GPU."""
        figures: dict[str, Any] = {"spent": dict(self._clock.seconds)}
        figures["process/memory_mib"] = psutil.Process().memory_info().rss / MIB
        if torch.cuda.is_initialized():
            figures["process/gpu_memory_mib"] = torch.cuda.max_memory_allocated() / MIB
        return figures


TRAINABLE = Trial  # of studies that search several stages jointly
