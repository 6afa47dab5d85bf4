"""How near a prediction is to its reference: fidelity, structure, spectrum, and how far a latent has drifted.

Images are (N, Y, X) or (N, 1, Y, X), latents tuples of (N, C_i, Y_i, X_i), finest first; every metric returns
one float64 number per field, (N,), or (N, num_bands) for those of the spectrum.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from skimage.metrics import structural_similarity
from torch import Tensor

Latent = Sequence[Tensor]


def mse(prediction: Tensor, reference: Tensor) -> Tensor:
    """Mean square error, (N,), in the square of the images' units."""
    prediction, reference = _pair(prediction, reference)
    return (prediction - reference).square().mean(dim=(1, 2))


def range(reference: Tensor) -> Tensor:
    """The range that PSNR and SSIM are stated with: max - min of each reference, (N,)."""
    reference = _images(reference)
    return reference.amax(dim=(1, 2)) - reference.amin(dim=(1, 2))


def psnr(prediction: Tensor, reference: Tensor, data_range: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio in dB, (N,): 10 log10(data_range² / MSE); inf where both are equal.

    `data_range` is (N,) and is the reference's own max - min unless given.
    """
    data_range = range(reference) if data_range is None else data_range
    return 10 * torch.log10(data_range.double().square() / mse(prediction, reference))


def psnr_ri(prediction: Tensor, reference: Tensor, data_range: Tensor | None = None) -> Tensor:
    """Range-invariant PSNR in dB, (N,): PSNR after the gain and offset that fit the prediction best.

    The fit is least squares per field, so what remains is var(reference) · (1 - correlation²). It forgives
    drift of brightness and contrast: read it beside `psnr`, never instead. A constant prediction has gain 0.
    """
    data_range = range(reference) if data_range is None else data_range
    prediction, reference = (_centred(images) for images in _pair(prediction, reference))
    power = prediction.square().mean(dim=(1, 2))
    covariance = (prediction * reference).mean(dim=(1, 2))
    gain = torch.where(power > 0, covariance / power, torch.zeros_like(power))
    return psnr(gain[:, None, None] * prediction, reference, data_range)


def ssim(prediction: Tensor, reference: Tensor, data_range: Tensor | None = None) -> Tensor:
    """Structural similarity, (N,), with the Gaussian window (sigma 1.5 px, 11 px wide) of Wang et al. 2004.

    `data_range` is (N,) as in `psnr`. Images must be at least 11 px wide and high.
    """
    data_range = range(reference) if data_range is None else data_range
    prediction, reference = _pair(prediction, reference)
    values = [
        structural_similarity(
            one.cpu().numpy(),
            other.cpu().numpy(),
            data_range=float(peak),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for one, other, peak in zip(prediction, reference, data_range, strict=True)
    ]
    return torch.tensor(values, dtype=torch.float64, device=prediction.device)


def band_errors(prediction: Tensor, reference: Tensor, num_bands: int = 4) -> Tensor:
    """Error energy relative to the reference's in each radial frequency band, (N, num_bands), lowest first.

    0 is perfect, 1 is what an image without anything in that band has. For bands see `band_energies`.
    """
    prediction, reference = _pair(prediction, reference)
    return band_energies(prediction - reference, num_bands) / band_energies(reference, num_bands)


def power_ratio(prediction: Tensor, reference: Tensor, num_bands: int = 4) -> Tensor:
    """Power of the prediction over that of the reference in each band, (N, num_bands); below 1 is blur."""
    prediction, reference = _pair(prediction, reference)
    return band_energies(prediction, num_bands) / band_energies(reference, num_bands)


def band_energies(images: Tensor, num_bands: int = 4) -> Tensor:
    """Energy of an image in radial frequency bands of equal width, (N, num_bands), lowest first.

    Bands divide 0 … 0.5 cycles/px; the corners beyond 0.5 belong to the last. A Hann window keeps the jump
    between opposite edges out of the high bands. The mean is left out, for it depends on the normalisation.
    The bands of an image sum to the energy of the windowed image (Parseval).
    """
    images = _images(images)
    size_y, size_x = images.shape[1:]
    window_y, window_x = (
        torch.hann_window(size, dtype=images.dtype, device=images.device) for size in (size_y, size_x)
    )
    window = window_y[:, None] * window_x
    mean = (images * window).sum(dim=(1, 2), keepdim=True) / window.sum()
    spectrum = torch.fft.fft2((images - mean) * window, norm="ortho").abs().square()
    frequency_y = torch.fft.fftfreq(size_y, dtype=images.dtype, device=images.device)
    frequency_x = torch.fft.fftfreq(size_x, dtype=images.dtype, device=images.device)
    radius = torch.hypot(frequency_y[:, None], frequency_x)
    band = (radius * 2 * num_bands).long().clamp(max=num_bands - 1)
    energies = spectrum.new_zeros(len(images), num_bands)
    return energies.index_add_(1, band.flatten(), spectrum.flatten(1))


def drift(z: Latent, reference: Latent) -> Tensor:
    """How far a latent is from the true one, (N,): ‖z - E(x)‖ / ‖E(x)‖ over all groups."""
    truth = _vectors(reference)
    return (_vectors(z) - truth).norm(dim=1) / truth.norm(dim=1)


def cosine(z: Latent, reference: Latent) -> Tensor:
    """Cosine between a latent and the true one over all groups, (N,): 1 is the right direction."""
    return torch.cosine_similarity(_vectors(z), _vectors(reference), dim=1)


def norm_ratio(z: Latent, reference: Latent) -> Tensor:
    """‖z‖ / ‖E(x)‖ over all groups, (N,): below 1 the loop shrinks towards the mean."""
    return _vectors(z).norm(dim=1) / _vectors(reference).norm(dim=1)


def _images(images: Tensor) -> Tensor:
    """(N, 1, Y, X) or (N, Y, X) as (N, Y, X) float64."""
    if images.ndim == 4 and images.shape[1] == 1:
        images = images[:, 0]
    if images.ndim != 3:
        raise ValueError(f"Images must be (N, Y, X) or (N, 1, Y, X), but have shape {tuple(images.shape)}.")
    return images.detach().double()


def _pair(prediction: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    prediction, reference = _images(prediction), _images(reference)
    if prediction.shape != reference.shape:
        raise ValueError(
            "Prediction and reference must have the same shape, "
            f"but have {tuple(prediction.shape)} and {tuple(reference.shape)}."
        )
    return prediction, reference


def _centred(images: Tensor) -> Tensor:
    return images - images.mean(dim=(1, 2), keepdim=True)


def _vectors(z: Latent) -> Tensor:
    """All groups of a latent as one vector per field, (N, D) float64."""
    return torch.cat([group.detach().double().flatten(1) for group in z], dim=1)
