"""What a model saw in training, and whether an image is like that: its pixels, its intensities, its pinhole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dehazing.data.series import Series

FAR = 4.0  # times as varied as any training field, or as many of its standard deviations brighter, is far outside
PIXELS = 1.25  # times as large or as small is far outside: structures then have other sizes in px
BETWEEN = 1.5  # times the smallest or the largest pinhole is still that


class Gain(NamedTuple):
    """How an image's numbers come from those that the training frames would have: gain * frame + offset."""

    gain: float = 1.0
    offset: float = 0.0


SAME = Gain()


@dataclass(frozen=True)
class Seen:
    """The levels of a training series: normalisation, pinholes, and each training field's mean and spread."""

    pinholes: tuple[float, ...]
    unit: str
    offset: tuple[float, ...]
    scale: tuple[float, ...]
    pixel_size_um: float | None
    means: np.ndarray  # (N, T + 1), counts
    spreads: np.ndarray  # (N, T + 1)

    @property
    def T(self) -> int:
        return len(self.pinholes) - 1

    def name(self, t: int) -> str:
        """A level as messages say it."""
        pinhole = self.pinholes[t]
        return f"level {t} ({'open' if math.isinf(pinhole) else f'{pinhole:g} {self.unit}'})"

    def normalised(self, plane: np.ndarray, t: int, gain: Gain = SAME) -> np.ndarray:
        """x_t as the networks see it, of a plane in the image's own numbers."""
        frame = (plane.astype(np.float32) - np.float32(gain.offset)) / np.float32(gain.gain)
        return (frame - np.float32(self.offset[t])) / np.float32(self.scale[t])

    def counts(self, x_0: np.ndarray, gain: Gain = SAME) -> np.ndarray:
        """A restored x_0 in the image's own numbers: what the clean setting would have recorded."""
        return gain.gain * (x_0 * np.float32(self.scale[0]) + np.float32(self.offset[0])) + gain.offset

    def spread_counts(self, spread: np.ndarray, gain: Gain = SAME) -> np.ndarray:
        """A standard deviation of x_0 in the image's own numbers."""
        return gain.gain * spread * np.float32(self.scale[0])

    def own_gain(self, mean: float, std: float, t: int) -> Gain:
        """The gain and offset that bring the level's mean and standard deviation to those of an image."""
        if not std > 0:
            raise ValueError(f"An image must vary to be normalised by its own spread, but every pixel is {mean:g}.")
        gain = std / self.scale[t]
        return Gain(gain, mean - gain * self.offset[t])

    def unfamiliar_intensities(self, plane: np.ndarray, t: int) -> str | None:
        """Why a plane's intensities lie far outside those of the level, or None."""
        mean, spread = float(plane.mean(dtype=np.float64)), float(plane.std(dtype=np.float64))
        lowest, highest = float(self.spreads[:, t].min()), float(self.spreads[:, t].max())
        if not lowest / FAR <= spread <= highest * FAR:
            return (
                f"its standard deviation is {spread:.4g}, and those of the training frames at {self.name(t)} lie "
                f"between {lowest:.4g} and {highest:.4g}"
            )
        lowest, highest = float(self.means[:, t].min()), float(self.means[:, t].max())
        if not lowest - FAR * self.scale[t] <= mean <= highest + FAR * self.scale[t]:
            return (
                f"its mean is {mean:.4g}, and those of the training frames at {self.name(t)} lie between {lowest:.4g} "
                f"and {highest:.4g}"
            )
        return None

    def unfamiliar_pixels(self, pixel_size_um: float | None) -> str | None:
        """Why the pixel size lies far outside that of the series, or None, also where one of them is not known."""
        if pixel_size_um is None or self.pixel_size_um is None:
            return None
        ratio = pixel_size_um / self.pixel_size_um
        if 1 / PIXELS <= ratio <= PIXELS:
            return None
        return (
            f"its pixels are {pixel_size_um:.4g} µm wide, and those of the training series {self.pixel_size_um:.4g} µm"
        )

    def level_of(self, pinhole: float) -> int:
        """The level whose pinhole is nearest, as a ratio; ValueError for one that is none of theirs."""
        if self.unit == "alpha":
            raise ValueError("A level is chosen by --level here: those of this experiment are made by Eq. 2.")
        if not pinhole > 0:
            raise ValueError(f"A pinhole must be positive, but is {pinhole:g}.")
        finite = [value for value in self.pinholes if math.isfinite(value)]
        if math.isinf(pinhole):
            if math.isinf(self.pinholes[-1]):
                return self.T
            raise self._no_such("an open pinhole")
        if not finite[0] / BETWEEN <= pinhole <= finite[-1] * BETWEEN:
            raise self._no_such(f"a pinhole of {pinhole:g} {self.unit}")
        return min(range(len(finite)), key=lambda t: abs(math.log(pinhole / finite[t])))

    def _no_such(self, what: str) -> ValueError:
        shown = ", ".join("open" if math.isinf(value) else f"{value:g}" for value in self.pinholes)
        return ValueError(
            f"The pinhole must be one of those trained on, {shown} {self.unit}, or near one, but the image has {what}; "
            "--level chooses a level all the same."
        )


def seen(series: Series) -> Seen:
    """What the training fields of a series show."""
    fields: Sequence[np.ndarray] = [field.frames for field in series.fields if field.split == "train"]
    return Seen(
        series.pinholes,
        series.pinhole_unit,
        series.offset,
        series.scale,
        series.pixel_size_um,
        np.array([frames.mean((1, 2), dtype=np.float64) for frames in fields]),
        np.array([frames.std((1, 2), dtype=np.float64) for frames in fields]),
    )
