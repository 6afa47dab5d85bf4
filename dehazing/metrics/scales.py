"""Structural similarity over several scales, of Wang, Simoncelli and Bovik 2003.

As torchmetrics 1.9.0 has it, which the tests hold it against; computed here because that takes fifty times as long: it
filters with the whole window at once, and with the reference again for every prediction.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from dehazing.metrics.reference import Reference, applicable, extremes

Array = NDArray[np.float64]

BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, full resolution first
WINDOW_PX, SIGMA_PX = 11, 1.5
PAD = WINDOW_PX // 2
SMALLEST_PX = 2 * WINDOW_PX  # below, not even a second scale has room for the window
C1, C2 = 0.01**2, 0.03**2  # for a range of 1


def ms_ssim(prediction: Tensor, reference: Tensor | Reference, betas: Sequence[float] | None = None) -> Tensor:
    """Multi-scale structural similarity, (N,), with the window of `ssim`; a negative similarity of a scale counts as 0.

    Both are stated with the reference's range and counted from its darkest pixel, for luminance compares what is not
    negative. betas: exponents of the scales, full resolution first; unless given, `betas_that_fit` the size, which do
    not sum to 1 where they are fewer than five: compare images of one size only. NotApplicable where the window does
    not fit the coarsest scale, and where the reference is constant.
    """
    smallest_px = SMALLEST_PX if betas is None else WINDOW_PX * 2 ** (len(betas) - 1)
    prediction, held = applicable("MS-SSIM", prediction, reference, smallest_px)
    betas = betas_that_fit(*held.images.shape[1:]) if betas is None else betas
    dark, bright = (level[:, None, None] for level in extremes(held))
    truth = held.once("scales", lambda images: Scales(((images - dark) / (bright - dark)).cpu().numpy()))
    values = truth.similarity(((prediction - dark) / (bright - dark)).cpu().numpy(), betas)
    return torch.from_numpy(values).to(prediction.device)


def betas_that_fit(size_y: int, size_x: int) -> tuple[float, ...]:
    """The exponents of the scales that leave room for the window: 2 from 22 px, 3 from 44, 4 from 88, 5 from 176."""
    return tuple(beta for scale, beta in enumerate(BETAS) if min(size_y, size_x) >> scale >= WINDOW_PX)


class Scales:
    """References (N, Y, X) of range 1 at half, a quarter, … of their resolution, and their local moments."""

    def __init__(self, references: Array):
        self._images = [references]
        self._moments: list[tuple[Array, Array]] = []

    def similarity(self, predictions: Array, betas: Sequence[float]) -> Array:
        """MS-SSIM with the predictions (N, Y, X), (N,)."""
        product = np.ones(len(predictions))
        for scale, beta in enumerate(betas):
            if len(self._moments) == scale:
                self._add(scale)
            image, (mean, variance) = self._images[scale], self._moments[scale]
            mean_p, variance_p = _moments(predictions)
            covariance = _windowed(predictions * image) - mean_p * mean
            similarity = (2 * covariance + C2) / (variance_p + variance + C2)
            if scale == len(betas) - 1:  # the last of the scales, small as it is, counts to its mirrored border
                similarity *= (2 * mean_p * mean + C1) / (mean_p**2 + mean**2 + C1)
            else:
                similarity = similarity[:, PAD:-PAD, PAD:-PAD]
            product *= similarity.mean(axis=(1, 2)).clip(min=0) ** beta
            predictions = _halved(predictions)
        return product

    def _add(self, scale: int) -> None:
        if scale:
            self._images.append(_halved(self._images[-1]))
        self._moments.append(_moments(self._images[scale]))


def _moments(images: Array) -> tuple[Array, Array]:
    mean = _windowed(images)
    return mean, _windowed(images * images) - mean * mean


def _windowed(images: Array) -> Array:
    """Gaussian means of a window around every pixel, mirrored at the border."""
    return gaussian_filter(images, (0, SIGMA_PX, SIGMA_PX), mode="mirror", radius=(0, PAD, PAD))


def _halved(images: Array) -> Array:
    num, size_y, size_x = images.shape
    even = images[:, : size_y // 2 * 2, : size_x // 2 * 2]
    return even.reshape(num, size_y // 2, 2, size_x // 2, 2).mean(axis=(2, 4))
