"""A square error in parts: the brightness that is off, and what is wrong in each radial frequency band."""

from __future__ import annotations

import torch
from torch import Tensor

from dehazing.metrics.reference import images_of
from dehazing.metrics.spectrum import band_energies

HANN_POWER = 3 / 8  # mean square of a Hann window, along each axis


def error_parts(difference: Tensor, num_bands: int = 4) -> Tensor:
    """Mean square of a difference of images (N, Y, X), of its mean alone, and of each band; (N, 2 + num_bands).

    In the square of the images' units. The bands are those of `band_energies`, over the window's power, so that they
    and the mean add up to the whole but for what the window hides near the borders.
    """
    difference = images_of(difference)
    whole, offset = difference.square().mean((1, 2)), difference.mean((1, 2)).square()
    bands = band_energies(difference, num_bands) / (difference[0].numel() * HANN_POWER**2)
    return torch.cat([whole[:, None], offset[:, None], bands], 1)
