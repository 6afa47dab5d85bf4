"""The HDN baseline: the same ladder, hazy in and clean out; its prediction is the mean of posterior samples."""

from __future__ import annotations

import torch
from torch import Tensor

from dehazing.models.hvae import HVAE

PIXELS_AT_ONCE = 2**18  # of the images behind one pass, so that memory stays bounded


def sample(hdn: HVAE, x_t: Tensor, num_samples: int, generator: torch.Generator) -> Tensor:
    """Posterior samples of the clean image, (num_samples, N, 1, Y, X), for x_t (N, 1, Y, X)."""
    with torch.random.fork_rng(devices=[x_t.device] if x_t.is_cuda else []):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        at_once = max(1, PIXELS_AT_ONCE // x_t.numel())
        parts = [hdn.sample(x_t, min(at_once, num_samples - k)) for k in range(0, num_samples, at_once)]
        return torch.cat(parts)
