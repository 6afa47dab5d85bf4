"""Eq. 2 as a further source of degraded data: clean images mixed with noise, or with their own haziest frame."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from dehazing.data.normalise import normalisation
from dehazing.data.pinhole_series import PinholeSeriesConfig
from dehazing.data.series import SPLITS, Field, Series
from dehazing.data.simulator import SimulatedConfig
from dehazing.degradation import degrade
from dehazing.schedules import alpha

MAX_T = 1000


@dataclass(frozen=True)
class SyntheticConfig:
    """x_t = (1 - alpha_t) x_0 + alpha_t n of the clean images of another dataset."""

    source: SimulatedConfig | PinholeSeriesConfig  # in a YAML: its mapping, or the path of its YAML
    kind: Literal["synthetic"] = "synthetic"
    T: int = 4
    endpoint: Literal["noise", "haze"] = "haze"  # n: white noise, or the haziest frame of the same field
    alpha: dict[str, Any] = field(default_factory=lambda: {"kind": "linear"})
    alpha_max: float = 1.0  # of level T; below 1, level T keeps a share of the clean image
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.alpha_max <= 1:
            raise ValueError(f"`0 < alpha_max <= 1` must hold, but got {self.alpha_max}.")
        if self.T > MAX_T:
            raise ValueError(f"`T <= {MAX_T}` must hold, but got {self.T}.")
        if "kind" not in self.alpha:
            raise ValueError(f"`alpha` must name its `kind`, but is {dict(self.alpha)}.")
        if self.seed < 0:
            raise ValueError(f"`seed >= 0` must hold, but got {self.seed}.")
        alphas = self.haze_alpha()
        if not all(low < high for low, high in itertools.pairwise(alphas)) or alphas[0] != 0:
            raise ValueError(f"`alpha` must rise from 0, but is {[round(a, 4) for a in alphas]}.")

    def haze_alpha(self) -> tuple[float, ...]:
        """alpha_t of Eq. 2, (T + 1,)."""
        schedule = {key: value for key, value in self.alpha.items() if key != "kind"}
        return tuple(self.alpha_max * float(a) for a in alpha(self.alpha["kind"], self.T, **schedule))


def degraded(config: SyntheticConfig, series: Series) -> Series:
    """The series of Eq. 2 made from the clean level of `series`; its "pinholes" are the alpha_t.

    Images and endpoint are mixed as normalised by the source's training statistics. The truth of a noise endpoint
    is the clean truth that is left, (1 - alpha_t) x_0.
    """
    alphas = config.haze_alpha()
    fields = []
    for split in SPLITS:
        names, x, truth = series.names(split), series.x(split), series.truth(split)
        for index, name in enumerate(names):
            rng = np.random.default_rng([config.seed, SPLITS.index(split), index])
            clean = x[index, 0]
            n = x[index, -1] if config.endpoint == "haze" else rng.normal(size=clean.shape).astype(np.float32)
            frames = _mixed(clean, n, alphas)
            true = None
            if truth is not None:
                n_true = truth[index, -1] if config.endpoint == "haze" else np.zeros_like(clean)
                true = _mixed(truth[index, 0], n_true, alphas)
            fields.append(Field(name, split, frames, true))
    offset, scale = normalisation(fields)
    said = f"Eq. 2: clean level {series.pinholes[0]:g} {series.pinhole_unit}, {config.endpoint} endpoint."
    return Series(
        fields=tuple(fields),
        pinholes=alphas,
        pinhole_unit="alpha",
        offset=offset,
        scale=scale,
        pixel_size_um=series.pixel_size_um,
        regions_of_one_field=series.regions_of_one_field,
        notes=(*series.notes, said),
    )


def _mixed(x_0: np.ndarray, n: np.ndarray, alphas: tuple[float, ...]) -> np.ndarray:
    clean, endpoint = torch.from_numpy(np.ascontiguousarray(x_0)), torch.from_numpy(np.ascontiguousarray(n))
    return torch.stack([degrade(clean, endpoint, haze_alpha) for haze_alpha in alphas]).numpy()
