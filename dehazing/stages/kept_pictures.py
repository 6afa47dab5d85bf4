"""Which pictures of predictions are kept: of the first fields, and of those on which each does worst and best."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dehazing.stages.fields import Row
from dehazing.sweep import Symbol

WORST, BEST = 0, 1


class _Extreme(NamedTuple):
    gap: float  # dB
    field: int
    picture: Tensor  # (Y, X)


class KeptPictures:
    """Pictures by prediction, gathered while the fields go by; what is not kept is forgotten at once.

    num_first: of how many first fields every picture is kept, at least one.
    """

    def __init__(self, num_first: int):
        self._num_first = max(num_first, 1)
        self._first: dict[Symbol, list[Tensor]] = defaultdict(list)
        self._extremes: dict[Symbol, list[_Extreme]] = {}  # worst, best
        self.baseline = ""
        self._psnr_db: Sequence[float] = ()  # of the baseline, by field

    def stand_against(self, rows: Sequence[Row], names: Sequence[str]) -> None:
        """Gaps are to the best of these baselines, by its mean PSNR at the haziest level, the first in the rows."""
        first: dict[str, Sequence[float]] = {}
        for row in rows:
            if row.variant in names:
                first.setdefault(row.variant, row.images["psnr"])
        self.baseline = max(first, key=lambda name: sum(first[name]))
        self._psnr_db = first[self.baseline]

    def see(self, prediction: Symbol, fields: Tensor, images: Tensor, psnr_db: Sequence[float]) -> None:
        """Some of the fields (n,), as one prediction shows them (n, Y, X), and the PSNR of each."""
        self._first[prediction].append(images[fields < self._num_first].float().cpu())
        for place, field in enumerate(fields.tolist()):
            gap = psnr_db[place] - self._psnr_db[field]
            gap = gap if not math.isnan(gap) else -math.inf  # it diverged, and nothing is worse
            held = self._extremes.get(prediction)
            if held is None or gap < held[WORST].gap or gap > held[BEST].gap:
                found = _Extreme(gap, field, images[place].float().cpu().clone())
                held = self._extremes.setdefault(prediction, [found, found])
                held[WORST] = min(held[WORST], found, key=lambda one: one.gap)
                held[BEST] = max(held[BEST], found, key=lambda one: one.gap)

    def first(self, prediction: Symbol) -> Tensor:
        """Of the first fields, (K, Y, X)."""
        return torch.cat(self._first[prediction])

    def extremes(self, ends: Mapping[str, Symbol], others: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """ "<loop>/extremes" (2, Y, X): its worst and its best field; of the others those of all `fields` of `record`.

        ends: loop → its last prediction. others: pictures of every field, (N, Y, X).
        """
        fields = self._fields(ends)
        pictures = {f"{name}/extremes": images[fields] for name, images in others.items()}
        for name, end in ends.items():
            pictures[f"{name}/extremes"] = torch.stack([one.picture for one in self._extremes[end]])
        return pictures

    def record(self, ends: Mapping[str, Symbol], names: Sequence[str]) -> dict[str, Any]:
        """Which fields those are: the baseline, fields, and loops: loop → worst and best; names (N,) of all fields."""
        loops = {name: [names[one.field] for one in self._extremes[end]] for name, end in ends.items()}
        return {"baseline": self.baseline, "fields": [names[k] for k in self._fields(ends)], "loops": loops}

    def _fields(self, ends: Mapping[str, Symbol]) -> list[int]:
        return sorted({one.field for end in ends.values() for one in self._extremes[end]})
