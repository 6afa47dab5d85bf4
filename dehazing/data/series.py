"""A pinhole series: the same fields of view at T + 1 levels of haze, ready for training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dehazing.data.finite import is_finite

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Field:
    """One field of view, or one region of it, at every level."""

    name: str
    split: str
    frames: np.ndarray  # (T + 1, Y, X) float32, as acquired, level 0 (clean) first
    truth: np.ndarray | None = None  # (T + 1, Y, X) float32, noise-free, where the simulator knows it


@dataclass(frozen=True)
class Imaging:
    """How a simulated series was imaged, as far as a deconvolution asks."""

    psf: np.ndarray  # (T + 1, K, K) float32, of the focal plane: light of a point per pixel, its centre in the middle
    dark: float  # counts of a camera that sees no light


@dataclass(frozen=True)
class Series:
    """Fields, the settings of their levels, and the normalisation x_t = (frame - offset[t]) / scale[t].

    ValueError, naming field and level, where a field lacks a level or holds NaN or infinity.
    """

    fields: tuple[Field, ...]
    pinholes: tuple[float, ...]  # (T + 1,), level 0 first; inf = open
    pinhole_unit: str  # au | um | px
    offset: tuple[float, ...]  # (T + 1,) mean of the training frames of that level
    scale: tuple[float, ...]  # (T + 1,) their standard deviation
    pixel_size_um: float | None = None
    regions_of_one_field: bool = False  # the splits are disjoint regions of a single field of view
    notes: tuple[str, ...] = ()  # what the reader has to say: sorted, left out, shifted, warned
    imaging: Imaging | None = None  # None: nobody knows it, as of an acquired series
    simulated: Mapping[str, Any] | None = None  # the settings by which more such fields can be simulated

    def __post_init__(self) -> None:
        for field in self.fields:
            for what, images in (("frame", field.frames), ("noise-free image", field.truth)):
                if images is None:
                    continue
                if len(images) != self.T + 1:
                    raise ValueError(
                        f"Every field must have the levels 0 … {self.T}, but {field.name} has {len(images)} levels."
                    )
                for level, image in enumerate(images):
                    if not is_finite(image):
                        raise ValueError(
                            f"Every {what} must be finite, but {field.name} holds NaN or infinity at level {level}."
                        )
        for level, (offset, scale) in enumerate(zip(self.offset, self.scale, strict=True)):
            if not (math.isfinite(offset) and 0 < scale < math.inf):
                raise ValueError(
                    f"The normalisation must have finite offsets and positive scales, but level {level} has offset "
                    f"{offset:g} and scale {scale:g}."
                )

    @property
    def T(self) -> int:
        """The haziest level."""
        return len(self.pinholes) - 1

    def names(self, split: str) -> list[str]:
        """Names of the fields of a split, in order."""
        return [field.name for field in self.fields if field.split == split]

    def x(self, split: str) -> np.ndarray:
        """Normalised frames of a split, (N, T + 1, Y, X) float32."""
        return self._normalised(np.stack([field.frames for field in self.fields if field.split == split]))

    def truth(self, split: str) -> np.ndarray | None:
        """Normalised noise-free images of a split, (N, T + 1, Y, X) float32, or None for real series."""
        truths = [field.truth for field in self.fields if field.split == split]
        known = [truth for truth in truths if truth is not None]
        return self._normalised(np.stack(known)) if len(known) == len(truths) else None

    def _normalised(self, images: np.ndarray) -> np.ndarray:
        offset = np.asarray(self.offset, np.float32)[:, None, None]
        scale = np.asarray(self.scale, np.float32)[:, None, None]
        return (images - offset) / scale
