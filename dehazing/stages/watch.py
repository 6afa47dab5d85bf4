"""The loss terms of the steps of an epoch, kept on the device and read once at its end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean, median

import torch
from torch import Tensor


class Watch:
    """Collects the terms of each step without waiting for the device; `read` judges them and gives their means.

    The first of the terms is the one that may run away: its median over an epoch above `runaway` times the median of
    its size over the first epoch (0: it may). A single step may pass that: its gradient was shortened, or left out.
    `usual`, the size in the first epoch, is part of a training state.
    """

    def __init__(self, runaway: float = 0.0):
        self.runaway = runaway
        self.usual: float | None = None
        self._names: tuple[str, ...] = ()
        self._rows: list[Tensor] = []

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """One step's terms, each a single number."""
        self._names = tuple(terms)
        self._rows.append(torch.stack([term.detach().float() for term in terms.values()]))

    def forget(self) -> None:
        """Leave out what was not read yet."""
        self._rows.clear()

    def read(self, num_done: int) -> dict[str, float]:
        """The means of the terms over the steps since the last reading, of `num_done` in all.

        FloatingPointError, naming the first such step and its terms, where one is not finite or the first ran away.
        """
        if not self._rows:
            return {}
        rows = torch.stack(self._rows).tolist()
        self.forget()
        first = num_done - len(rows)
        for step, row in enumerate(rows, first):
            for name, value in zip(self._names, row, strict=True):
                if not math.isfinite(value):
                    raise FloatingPointError(
                        f"The loss must stay finite, but `{name}` became {value} at step {step} ({self._shown(row)})."
                    )
        losses = [row[0] for row in rows]
        if self.usual is None:
            self.usual = median(map(abs, losses))
        limit = self.runaway * self.usual
        if self.runaway and median(losses) > limit:
            step = next(i for i, loss in enumerate(losses) if loss > limit)
            raise FloatingPointError(
                f"The loss must stay below {self.runaway:g} times its size in the first epoch ({self.usual:.3g}), but "
                f"ran away at step {first + step} ({self._shown(rows[step])}), to a median of {median(losses):.3g}."
            )
        return {name: fmean(column) for name, column in zip(self._names, zip(*rows, strict=True), strict=True)}

    def _shown(self, row: list[float]) -> str:
        return ", ".join(f"{name} {value:.3g}" for name, value in zip(self._names, row, strict=True))
