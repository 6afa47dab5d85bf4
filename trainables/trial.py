"""One execution of a stage as a Ray Tune class trainable: setup → generator of epochs, step → the next epoch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from ray import tune

from dehazing.pipeline.execute import executing
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.lease import LeaseLost
from dehazing.pipeline.store import Store, Unwritable

# What would fail again however often it is tried. All else (a lost worker, a full disk) is infrastructure's.
DETERMINISTIC = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)


class Trial(tune.Trainable):
    """Trains or evaluates `config["execution"]`, whose product goes to the store at `config["root"]`.

    config: root (absolute path), execution (the fields of an Execution), device, num_threads (the trial's CPUs).
    One `step` is one epoch; the last result carries `done=True`, `finished=True` and the final metrics. A
    deterministic failure ends the trial with `failed`, its reason, instead of the final metrics, and leaves the
    actor warm for the next one; a results folder that cannot be written ends it with `unwritable`. Resume lives in
    the store (partial checkpoints under the fingerprint), so Tune's checkpoints hold nothing.
    """

    kind: ClassVar[str]

    def setup(self, config: Mapping[str, Any]) -> None:
        execution = Execution(**config["execution"])
        assert execution.kind == self.kind, f"{execution.kind=} in the trainable of {self.kind!r}"
        torch.set_num_threads(config.get("num_threads", 1))
        self._store = Store(config["root"])
        self._execution = execution
        self._epochs: Iterator[dict[str, Any]] = executing(execution, self._store, device=config.get("device", "cpu"))

    def step(self) -> dict[str, Any]:
        try:
            for metrics in self._epochs:
                return {**metrics, "finished": False}
            return {**self._final(), "finished": True, "done": True}
        except Unwritable as error:
            return {"unwritable": str(error), "finished": False, "done": True}
        except LeaseLost:  # somebody else works on it now: asked again, this waits for them
            raise
        except DETERMINISTIC as error:
            return {"failed": f"{type(error).__name__}: {error}", "finished": False, "done": True}

    def reset_config(self, new_config: Mapping[str, Any]) -> bool:
        """Rebuild everything for another trial in the same actor."""
        self.cleanup()
        self.setup(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load: the store knows where the execution stands."""

    def cleanup(self) -> None:
        """Close the generator, which saves a checkpoint and gives the lease back."""
        close = getattr(self._epochs, "close", None)
        if close is not None:
            close()

    def _final(self) -> dict[str, Any]:
        folder = self._store.folder(self._execution.address)
        metrics = json.loads((folder / "metrics.json").read_text())
        history = {"num_epochs": len(metrics["history"])}
        return {**metrics["final"], **history, "seconds": metrics["seconds"], "device": metrics["device"]}
