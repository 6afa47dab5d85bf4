"""What a stage is given and what it has to offer, so that one loop can run every kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dehazing.data.series import Series


@dataclass(frozen=True)
class Context:
    """What a stage sees beside its configuration."""

    series: Series
    upstreams: Mapping[str, Path]  # role → the published folder of the stage that plays it
    seed: int
    device: str  # of torch: cpu, cuda, cuda:1 …


class Stage(Protocol):
    """One stage in training; built as `Stage(config, context)`, driven by `dehazing.pipeline.execute`.

    Everything that changes from one epoch to the next is in `state_dict`: a stage built anew from the same
    configuration and context, given the state, does the same next epoch to the bit.
    """

    num_epochs: int
    epoch: int  # finished ones
    final: dict[str, float]  # what the studies optimise and the report shows; known after `finish`

    def train_epoch(self) -> dict[str, float]:
        """One more epoch, and its metrics by name; FloatingPointError where a loss is not finite."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """A tree of tensors, arrays, numbers, texts and None, as `checkpoint.save` takes it."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state, its `epoch` included."""
        ...

    def finish(self) -> dict[str, bytes]:
        """The files to publish, by name, after the last epoch; sets `final`."""
        ...
