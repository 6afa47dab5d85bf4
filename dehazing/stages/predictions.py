"""What a trained network of pixels makes of images, apart from how it is trained: who asks it need not depend on it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dehazing.levels import require_level


@torch.no_grad()
def restore(network: nn.Module, x_t: Tensor, t: int) -> Tensor:
    """x0_hat = R(x_t, t) (Eq. 5) of images (N, Y, X) of one level, field by field to bound memory; (N, Y, X)."""
    require_level(t, network.T)  # type: ignore[arg-type]
    level = torch.full((1,), t, device=x_t.device)
    return torch.cat([network(x[None, None], level)[:, 0] for x in x_t])


@torch.no_grad()
def reconstruct(network: Any, x: Tensor) -> Tensor:
    """Dec(E(x)) of images (N, Y, X), field by field; (N, Y, X)."""
    height, width = x.shape[-2:]
    return torch.cat([network.decode(network.encode(one[None, None]))[:, 0, :height, :width] for one in x])
