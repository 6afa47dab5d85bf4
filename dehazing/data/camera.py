"""A camera with shot noise, read noise and an offset, in photoelectrons (gain 1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FULL_WELL = 65535


@dataclass(frozen=True)
class Camera:
    """Exposure and noise."""

    photons: float = 150.0  # peak of a typical in-focus line at the clean setting
    read_noise: float = 3.0  # e-, standard deviation
    offset: float = 100.0  # counts

    def __post_init__(self) -> None:
        if not (0 < self.photons <= FULL_WELL and 0 <= self.read_noise <= FULL_WELL and 0 <= self.offset <= FULL_WELL):
            raise ValueError(
                f"`photons > 0`, `read_noise >= 0` and `offset >= 0`, none above {FULL_WELL}, must hold, but got "
                f"{self.photons}, {self.read_noise} and {self.offset}."
            )

    def expose(self, photons: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A noisy frame of whole counts, float32, from expected photons of any shape."""
        electrons = rng.poisson(photons) + rng.normal(0.0, self.read_noise, photons.shape)
        return np.clip(np.rint(electrons + self.offset), 0, FULL_WELL).astype(np.float32)

    def expectation(self, photons: np.ndarray) -> np.ndarray:
        """The noise-free frame, float32."""
        return (photons + self.offset).astype(np.float32)
