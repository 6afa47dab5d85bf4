"""Classical controls at level T: no network, one setting each, chosen on training fields.

Every control has one gain and one offset beside its setting, the least squares of its training images against the
acquired clean frames, since a classical restoration knows nothing of the normalisation. What needs the PSF is left
out where nobody knows it: a series that was acquired, or mixed by Eq. 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dehazing import classical
from dehazing.data.series import Imaging, Series

Image = NDArray[np.float64]

RADII = (4, 8, 16, 32)
NUM_ITERATIONS = (2, 5, 10, 20, 50)
BALANCES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True)
class Choice:
    """A control with its setting, and how its images become normalised intensities of level 0."""

    control: str
    setting: str  # what the value is of
    value: float
    candidates: tuple[float, ...]
    gain: float
    offset: float
    restored: Callable[[Image], Image]

    def __call__(self, x_T: Tensor) -> Tensor:
        """Restores normalised images (N, Y, X)."""
        images = x_T.detach().cpu().double().numpy()
        restored = np.stack([self.gain * self.restored(image) + self.offset for image in images])
        return torch.from_numpy(restored).to(x_T)

    def record(self) -> dict[str, Any]:
        """What the report says of it."""
        names = ("control", "setting", "value", "candidates", "gain", "offset")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Controls:
    """The controls of a series, and why others are left out, a sentence each."""

    chosen: tuple[Choice, ...]
    left_out: Mapping[str, str]

    def record(self) -> dict[str, Any]:
        return {"chosen": [choice.record() for choice in self.chosen], "left_out": dict(self.left_out)}


def chosen_controls(series: Series, num_fields: int = 8) -> Controls:
    """Every control that the series allows, each with the best of its settings on that many training fields.

    The deconvolution after the rolling ball takes the radius that the ball has alone.
    """
    x = series.x("train")[:num_fields].astype(np.float64)
    x_0, x_T = x[:, 0], x[:, -1]
    ball = _best("rolling_ball", "radius", RADII, classical.without_background, x_T, x_0)
    if series.imaging is None:
        reason = "{} needs the PSF, which is known of simulated series only."
        names = {
            "richardson_lucy": "Richardson-Lucy",
            "wiener": "The Wiener filter",
            "rolling_ball_richardson_lucy": "Richardson-Lucy after the rolling ball",
        }
        return Controls((ball,), {name: reason.format(said) for name, said in names.items()})
    scale, offset = series.scale[-1], series.offset[-1]
    clean_psf, psf = _kernels(series.imaging)
    dark = offset - series.imaging.dark

    def deconvolved(image: Image, num_iterations: int) -> Image:
        return classical.richardson_lucy(scale * image + dark, psf, clean_psf, num_iterations)

    def filtered(image: Image, balance: float) -> Image:
        return classical.wiener(image, psf, clean_psf, balance)

    def both(image: Image, num_iterations: int) -> Image:
        return classical.richardson_lucy(ball.restored(image), psf, clean_psf, num_iterations)

    return Controls(
        (
            _best("richardson_lucy", "num_iterations", NUM_ITERATIONS, deconvolved, x_T, x_0),
            _best("wiener", "balance", BALANCES, filtered, x_T, x_0),
            ball,
            _best("rolling_ball_richardson_lucy", "num_iterations", NUM_ITERATIONS, both, x_T, x_0),
        ),
        {},
    )


def _kernels(imaging: Imaging) -> tuple[Image, Image]:
    psf = imaging.psf.astype(np.float64)
    return psf[0], psf[-1]


def _best(
    control: str,
    setting: str,
    candidates: tuple[float, ...],
    restore: Callable[..., Image],
    x_T: Image,
    x_0: Image,
) -> Choice:
    """The candidate with the least square error from the clean frames (N, Y, X), after its gain and offset."""
    found = []
    for value in candidates:
        restored = partial(restore, **{setting: value})
        images = np.stack([restored(image) for image in x_T])
        gain, offset = _fitted(images, x_0)
        error = float(np.mean((gain * images + offset - x_0) ** 2))
        found.append((error, Choice(control, setting, value, candidates, gain, offset, restored)))
    return min(found, key=lambda one: one[0])[1]


def _fitted(images: Image, x_0: Image) -> tuple[float, float]:
    """Gain and offset of least squares; of images without contrast the mean of x_0."""
    centred = images - images.mean()
    power = float(np.sum(centred**2))
    gain = float(np.sum(centred * x_0)) / power if power > 0 else 0.0
    return gain, float(x_0.mean() - gain * images.mean())
