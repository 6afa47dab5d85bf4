"""Fourier ring correlation between a prediction and the noise-free truth: to which detail it can be believed."""

from __future__ import annotations

import torch
from torch import Tensor

from dehazing.metrics.reference import Reference, applicable
from dehazing.metrics.spectrum import frequencies, spectrum, sums_over

THRESHOLD = 1 / 7
SMALLEST_PX = 16
BEST_PX = 2.0  # two pixels a period is the finest that pixels can show


def ring_correlation(prediction: Tensor, reference: Tensor | Reference) -> Tensor:
    """Σ P R* / √(Σ|P|² Σ|R|²) over rings of spatial frequency, (N, num_rings), lowest first.

    Ring k = 1 … min(Y, X) // 2 holds what is nearest to k / min(Y, X) cycles/px; the window is that of `band_energies`.
    0 where a ring holds nothing. NotApplicable below 16 px a side, where the reference is constant, and where it is an
    acquired frame, whose own noise would correlate.
    """
    prediction, held = applicable("Fourier ring correlation", prediction, reference, SMALLEST_PX, needs_truth=True)
    size_y, size_x = prediction.shape[1:]
    num = min(size_y, size_x) // 2
    ring = (frequencies(size_y, size_x, prediction.device) * min(size_y, size_x)).round().long() - 1
    ring[(ring < 0) | (ring >= num)] = num  # the mean, and the corners

    def summed(values: Tensor) -> Tensor:
        return sums_over(values, size_x, ring, num)

    truth, predicted = held.once("spectrum", spectrum), spectrum(prediction)
    of_truth = held.once("rings", lambda _: summed(truth.abs().square()))
    geometric = (summed(predicted.abs().square()) * of_truth).sqrt()
    common = summed((predicted * truth.conj()).real)
    return torch.where(geometric > 0, common / geometric, torch.zeros_like(common))


def frc_resolution(prediction: Tensor, reference: Tensor | Reference, threshold: float = THRESHOLD) -> Tensor:
    """Finest period in px down to which prediction and truth agree, (N,): where `ring_correlation` first falls below.

    The crossing is interpolated between rings. 2 px where the curve never falls below the threshold, inf where it is
    below from the first ring on. NotApplicable as `ring_correlation`.
    """
    curves = ring_correlation(prediction, reference)
    size = min(prediction.shape[-2:])
    return torch.tensor(
        [_crossing_px(curve.tolist(), size, threshold) for curve in curves], dtype=torch.float64, device=curves.device
    )


def _crossing_px(curve: list[float], size: int, threshold: float) -> float:
    below = next((k for k, value in enumerate(curve) if value < threshold), None)
    if below is None:
        return BEST_PX
    if below == 0:
        return float("inf")
    before, after = curve[below - 1], curve[below]
    return size / (below + (before - threshold) / (before - after))  # ring k stands at index k - 1
