"""MicroMS3IM (Ashesh, Deschamps, Jug 2024, arXiv 2408.08747): structural similarity made for micrographs.

Implemented here because its own package, `microssim`, forbids newer releases of almost all that we depend on; the
tests hold values that it gave.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import uniform_filter
from torch import Tensor

from dehazing.metrics.reference import Reference, applicable
from dehazing.metrics.scales import C1, C2, SMALLEST_PX, Array, Scales, betas_that_fit

BACKGROUND_PERCENTILE = 3
WINDOW_PX = 7  # of the similarity that the gain is fitted with
MAX_GAIN = 4.0  # the search's bound, over the gain of least squares


def micro_ms3im(prediction: Tensor, reference: Tensor | Reference) -> Tensor:
    """MS-SSIM, (N,), after a percentile as background is taken off and the prediction has the gain that suits it best.

    Background: the third percentile of each image. Gain: the one with the highest SSIM, fitted per field. Both images
    are stated with the range of the reference; betas as in `ms_ssim`. NotApplicable below 22 px a side, and where the
    reference is constant.
    """
    prediction, held = applicable("MicroMS3IM", prediction, reference, SMALLEST_PX)
    truth = held.once("micro", lambda images: [_Normalised(one.cpu().numpy()) for one in images])
    betas = betas_that_fit(*held.images.shape[1:])
    values = [one.similarity(image.cpu().numpy(), betas) for one, image in zip(truth, prediction, strict=True)]
    return torch.tensor(values, dtype=torch.float64, device=prediction.device)


class _Normalised:
    """A reference (Y, X) without background and with range 1, and its local moments."""

    def __init__(self, reference: Array):
        background = np.percentile(reference, BACKGROUND_PERCENTILE)
        self.image: Array = (reference - background) / (reference.max() - reference.min())
        self.mean, self.variance = _mean(self.image), _covariance(self.image, self.image)
        self.scales = Scales(self.image[None])

    def similarity(self, prediction: Array, betas: tuple[float, ...]) -> float:
        return float(self.scales.similarity(self.scaled(prediction)[None], betas)[0])

    def scaled(self, prediction: Array) -> Array:
        """The prediction without background, in the reference's unit, times the gain of the highest SSIM."""
        from scipy.optimize import minimize_scalar  # here, for every process would wait: only the confirmation calls it

        image = prediction - np.percentile(prediction, BACKGROUND_PERCENTILE)
        power = (image * image).sum()
        # least squares first: a search from 1 is lost where the prediction's unit is another
        image = image * ((image * self.image).sum() / power if power > 0 else 1.0)
        mean, variance = _mean(image), _covariance(image, image)
        common_mean, common_variance = 2 * mean * self.mean, 2 * _covariance(image, self.image)
        power_of_mean = mean**2
        power_of_mean_of_truth, variance_of_truth = self.mean**2 + C1, self.variance + C2

        def dissimilarity(gain: float) -> float:
            similarity = (gain * common_mean + C1) * (gain * common_variance + C2)
            similarity /= (power_of_mean_of_truth + gain**2 * power_of_mean) * (variance_of_truth + gain**2 * variance)
            return -float(similarity.mean())

        return image * minimize_scalar(dissimilarity, bounds=(0, MAX_GAIN), method="bounded").x


def _mean(image: Array) -> Array:
    pad = WINDOW_PX // 2
    return uniform_filter(image, WINDOW_PX)[pad:-pad, pad:-pad]


def _covariance(one: Array, other: Array) -> Array:
    """Of a window's pixels, as a sample's."""
    num = WINDOW_PX**2
    return num / (num - 1) * (_mean(one * other) - _mean(one) * _mean(other))
