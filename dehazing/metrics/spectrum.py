"""Error, power and coherence per radial frequency band."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from dehazing.metrics.reference import Reference, images_of, pair


class BandScores(NamedTuple):
    """One number per field and band each, (N, num_bands); error = 1 + power - 2 coherence √power."""

    error: Tensor
    power: Tensor
    coherence: Tensor


def band_scores(prediction: Tensor, reference: Tensor | Reference, num_bands: int = 4) -> BandScores:
    """What `band_errors`, `power_ratio` and `coherence` give, from one transform of the prediction."""
    prediction, held = pair(prediction, reference)
    truth = held.once("spectrum", spectrum)
    size_x = prediction.shape[2]
    of_truth = held.once(("energies", num_bands), lambda _: _summed(truth.abs().square(), size_x, num_bands))
    spectrum_ = spectrum(prediction)
    of_prediction = _summed(spectrum_.abs().square(), size_x, num_bands)
    of_error = _summed((spectrum_ - truth).abs().square(), size_x, num_bands)
    common = _summed((spectrum_ * truth.conj()).real, size_x, num_bands)
    geometric = (of_prediction * of_truth).sqrt()
    coherence = torch.where(geometric > 0, common / geometric, torch.zeros_like(common))
    return BandScores(of_error / of_truth, of_prediction / of_truth, coherence)


def band_errors(prediction: Tensor, reference: Tensor | Reference, num_bands: int = 4) -> Tensor:
    """Error energy relative to the reference's in each radial frequency band, (N, num_bands), lowest first.

    0 is perfect, 1 is what an image without anything in that band has. For bands see `band_energies`.
    """
    return band_scores(prediction, reference, num_bands).error


def power_ratio(prediction: Tensor, reference: Tensor | Reference, num_bands: int = 4) -> Tensor:
    """Power of the prediction over that of the reference in each band, (N, num_bands); below 1 is blur."""
    return band_scores(prediction, reference, num_bands).power


def coherence(prediction: Tensor, reference: Tensor | Reference, num_bands: int = 4) -> Tensor:
    """Correlation of both spectra in each band, (N, num_bands): Σ P R* / √(Σ|P|² Σ|R|²), real, -1 … 1.

    1 is the right structure whatever its power, 0 none of it; 0 also where a band holds nothing.
    """
    return band_scores(prediction, reference, num_bands).coherence


def band_energies(images: Tensor, num_bands: int = 4) -> Tensor:
    """Energy of an image in radial frequency bands of equal width, (N, num_bands), lowest first.

    Bands divide 0 … 0.5 cycles/px; the corners beyond 0.5 belong to the last. A Hann window keeps the jump
    between opposite edges out of the high bands. The mean is left out, for it depends on the normalisation.
    The bands of an image sum to the energy of the windowed image (Parseval).
    """
    images = images_of(images)
    return _summed(spectrum(images).abs().square(), images.shape[2], num_bands)


def spectrum(images: Tensor) -> Tensor:
    """Half of the orthonormal spectrum of windowed images, (N, Y, X // 2 + 1) complex; linear in the images."""
    window = _window(*images.shape[1:], images.device)
    mean = (images * window).sum(dim=(1, 2), keepdim=True) / window.sum()
    return torch.fft.rfft2((images - mean) * window, norm="ortho")


def sums_over(values: Tensor, size_x: int, bins: Tensor, num: int) -> Tensor:
    """Sums over the bins of the whole spectrum, (N, num), of values (N, Y, X // 2 + 1) on its stored half.

    bins (Y, X // 2 + 1): of every coefficient, `num` for one that belongs to none. A stored column stands for its
    mirror image as well, but the first, and the last of an even width.
    """
    counted = torch.full((values.shape[2],), 2.0, dtype=values.dtype, device=values.device)
    counted[0] = 1
    if size_x % 2 == 0:
        counted[-1] = 1
    sums = values.new_zeros(len(values), num + 1)
    return sums.index_add_(1, bins.flatten(), (values * counted).flatten(1))[:, :num]


@lru_cache(maxsize=8)
def frequencies(size_y: int, size_x: int, device: torch.device) -> Tensor:
    """Distance from zero frequency in cycles/px, (Y, X // 2 + 1)."""
    frequency_y = torch.fft.fftfreq(size_y, dtype=torch.float64, device=device)
    frequency_x = torch.fft.rfftfreq(size_x, dtype=torch.float64, device=device)
    return torch.hypot(frequency_y[:, None], frequency_x)


@lru_cache(maxsize=8)
def _window(size_y: int, size_x: int, device: torch.device) -> Tensor:
    window_y, window_x = (torch.hann_window(size, dtype=torch.float64, device=device) for size in (size_y, size_x))
    return window_y[:, None] * window_x


@lru_cache(maxsize=8)
def _bands(size_y: int, size_x: int, num_bands: int, device: torch.device) -> Tensor:
    return (frequencies(size_y, size_x, device) * 2 * num_bands).long().clamp(max=num_bands - 1)


def _summed(values: Tensor, size_x: int, num_bands: int) -> Tensor:
    return sums_over(values, size_x, _bands(values.shape[1], size_x, num_bands, values.device), num_bands)
