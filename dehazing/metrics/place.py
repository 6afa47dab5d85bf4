"""Where in a field an error lies: on its structure or on its background.

The structure is what is brighter than Otsu's threshold of the reference, smoothed by a Gaussian of 1 px so that single
noisy pixels are none. Gain and offset of the intensities change nothing. The reference is the simulator's noise-free
truth where there is one; of an acquired frame the threshold sees some of its noise, too.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from dehazing.metrics.fidelity import range
from dehazing.metrics.reference import NotApplicable, Reference, applicable

SIGMA_PX = 1.0
LEAST_KEPT = 1 / 6  # of the variance after smoothing: of white noise 1 / (4 pi) = 0.08 is left, of thin lines half


def psnr_structure(prediction: Tensor, reference: Tensor | Reference) -> Tensor:
    """PSNR in dB over the pixels of the structure, (N,), with the range of the whole reference, as `psnr` has it.

    With f of `structure_share`, mse = f · mse_structure + (1 - f) · mse_background, so that
    10^(-psnr/10) = f · 10^(-psnr_structure/10) + (1 - f) · 10^(-psnr_background/10). NotApplicable where the reference
    is constant, or nothing in it stands out of a background.
    """
    prediction, held = applicable("PSNR on structure", prediction, reference)
    return _psnr_within(prediction, held, structure(held))


def psnr_background(prediction: Tensor, reference: Tensor | Reference) -> Tensor:
    """PSNR in dB over all other pixels, (N,), as `psnr_structure` has it."""
    prediction, held = applicable("PSNR on background", prediction, reference)
    return _psnr_within(prediction, held, ~structure(held))


def structure_share(prediction: Tensor, reference: Tensor | Reference) -> Tensor:
    """Share of the pixels that are structure, (N,); of the reference alone, but refused where `psnr_structure` is."""
    _, held = applicable("The share of structure", prediction, reference)
    return structure(held).double().mean(dim=(1, 2))


def structure(reference: Reference) -> Tensor:
    """Which pixels of each reference are structure, (N, Y, X) bool; NotApplicable as `psnr_structure`."""
    return reference.once("structure", lambda images: torch.stack([_structure(image) for image in images]))


def _structure(image: Tensor) -> Tensor:
    from skimage.filters import threshold_otsu  # here, for every process would wait: only the confirmation calls it

    values = image.cpu().numpy()
    smoothed = gaussian_filter(values, SIGMA_PX)
    if not np.var(smoothed) > LEAST_KEPT * np.var(values):
        raise NotApplicable(
            "Errors by place need structure that stands out of a background, but one reference is as even as noise: "
            f"smoothed by {SIGMA_PX:g} px it keeps no more than {LEAST_KEPT:.0%} of its variance."
        )
    return torch.from_numpy(smoothed > threshold_otsu(smoothed)).to(image.device)


def _psnr_within(prediction: Tensor, held: Reference, chosen: Tensor) -> Tensor:
    error = ((prediction - held.images).square() * chosen).sum(dim=(1, 2)) / chosen.sum(dim=(1, 2))
    return 10 * torch.log10(range(held).square() / error)
