"""What a trained HDN makes of images, apart from how it is trained: who asks it need not depend on that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dehazing.models import hdn


@torch.no_grad()
def restore(network: Any, x_t: Tensor, num_samples: int, seed: int) -> Tensor:
    """The mean of posterior samples for images (N, Y, X), field by field; (N, Y, X)."""
    return torch.stack([drawn.mean(0) for drawn in samples(network, x_t, num_samples, seed)])


@torch.no_grad()
def samples(network: Any, x_t: Tensor, num_samples: int, seed: int) -> Iterator[Tensor]:
    """The posterior samples of each of the images (N, Y, X) that `restore` averages, (num_samples, Y, X) a field."""
    generator = torch.Generator().manual_seed(seed)
    for x in x_t:
        yield hdn.sample(network, x[None, None], num_samples, generator)[:, 0, 0]
