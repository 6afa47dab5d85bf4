"""Error per pixel: MSE, PSNR with a stated range, and PSNR that forgives gain and offset."""

from __future__ import annotations

import torch
from torch import Tensor

from dehazing.metrics.reference import Reference, extremes, pair, reference_of


def mse(prediction: Tensor, reference: Tensor | Reference) -> Tensor:
    """Mean square error, (N,), in the square of the images' units."""
    prediction, held = pair(prediction, reference)
    return (prediction - held.images).square().mean(dim=(1, 2))


def range(reference: Tensor | Reference) -> Tensor:
    """The range that PSNR and SSIM are stated with: max - min of each reference, (N,)."""
    lowest, highest = extremes(reference_of(reference))
    return highest - lowest


def psnr(prediction: Tensor, reference: Tensor | Reference, data_range: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio in dB, (N,): 10 log10(data_range² / MSE); inf where both are equal.

    `data_range` is (N,) and is the reference's own max - min unless given.
    """
    data_range = range(reference) if data_range is None else data_range
    return 10 * torch.log10(data_range.double().square() / mse(prediction, reference))


def psnr_ri(prediction: Tensor, reference: Tensor | Reference, data_range: Tensor | None = None) -> Tensor:
    """Range-invariant PSNR in dB, (N,): PSNR after the gain and offset that fit the prediction best.

    The fit is least squares per field, so what remains is var(reference) · (1 - correlation²). It forgives
    drift of brightness and contrast: read it beside `psnr`, never instead. A constant prediction has gain 0.
    """
    prediction, held = pair(prediction, reference)
    data_range = range(held) if data_range is None else data_range
    prediction = _centred(prediction)
    return psnr(best_gain(prediction, held) * prediction, held.once("centred", _centred), data_range)


def best_gain(prediction: Tensor, reference: Reference) -> Tensor:
    """The gain that, with an offset, brings the prediction (N, Y, X) nearest to the reference; (N, 1, 1)."""
    prediction, truth = _centred(prediction), reference.once("centred", _centred)
    power = prediction.square().mean(dim=(1, 2), keepdim=True)
    covariance = (prediction * truth).mean(dim=(1, 2), keepdim=True)
    return torch.where(power > 0, covariance / power, torch.zeros_like(power))


def _centred(images: Tensor) -> Tensor:
    return images - images.mean(dim=(1, 2), keepdim=True)
