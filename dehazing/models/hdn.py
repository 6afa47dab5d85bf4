"""The HDN baseline: the same ladder, hazy in and clean out; its prediction is the mean of posterior samples."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dehazing.models.hvae import HVAE, Latent

PIXELS_AT_ONCE = 2**18  # of the images behind one pass, so that memory stays bounded


def sample(hdn: HVAE, x_t: Tensor, num_samples: int, generator: torch.Generator) -> Tensor:
    """Posterior samples of the clean image, (num_samples, N, 1, Y, X), for x_t (N, 1, Y, X)."""
    with torch.random.fork_rng(devices=[x_t.device] if x_t.is_cuda else []):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        at_once = max(1, PIXELS_AT_ONCE // x_t.numel())
        parts = [hdn.sample(x_t, min(at_once, num_samples - k)) for k in range(0, num_samples, at_once)]
        return torch.cat(parts)


def noises(hdn: HVAE, x_t: Tensor, num_samples: int, generator: torch.Generator) -> Iterator[Latent]:
    """The normal numbers that `sample` draws, as many samples at a time; (samples * N, C_i, h_i, w_i), finest first.

    `HVAE.sample` that is given them makes the same samples, and so does one that is given them tile by tile.
    """
    drawing = torch.Generator(x_t.device).manual_seed(int(torch.randint(2**31, (), generator=generator)))
    at_once = max(1, PIXELS_AT_ONCE // x_t.numel())
    coarsest = 2 ** len(hdn.latent_channels)
    height, width = (side + -side % coarsest for side in x_t.shape[-2:])
    for k in range(0, num_samples, at_once):
        num = min(at_once, num_samples - k) * len(x_t)
        shapes = [(num, c, height >> i, width >> i) for i, c in enumerate(hdn.latent_channels, 1)]
        drawn = [torch.randn(shape, generator=drawing, device=x_t.device) for shape in reversed(shapes)]
        yield tuple(reversed(drawn))
