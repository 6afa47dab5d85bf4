"""The forward process of the source: haze mixed into a clean image."""

from __future__ import annotations

import torch
from torch import Tensor


def degrade(x_0: Tensor, n: Tensor, haze_alpha: Tensor | float) -> Tensor:
    """x_t = (1 - alpha_t) x_0 + alpha_t n (Eq. 2).

    x_0, n: same shape, the clean image and the noise or haze endpoint. haze_alpha: a number, or a tensor that
    broadcasts against x_0. Raises ValueError outside [0, 1].
    """
    haze_alpha = torch.as_tensor(haze_alpha, dtype=x_0.dtype, device=x_0.device)
    if not bool(((haze_alpha >= 0) & (haze_alpha <= 1)).all()):
        raise ValueError(f"`0 <= alpha_t <= 1` must hold, but got {haze_alpha.tolist()}.")
    x_t = torch.lerp(x_0, n, haze_alpha)  # Eq. 2
    return x_t
