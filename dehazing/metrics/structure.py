"""Structural similarity at the full resolution."""

from __future__ import annotations

import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from dehazing.metrics.fidelity import range
from dehazing.metrics.reference import Reference, pair


def ssim(prediction: Tensor, reference: Tensor | Reference, data_range: Tensor | None = None) -> Tensor:
    """Structural similarity, (N,), with the Gaussian window (sigma 1.5 px, 11 px wide) of Wang et al. 2004.

    `data_range` is (N,) as in `psnr`. Images must be at least 11 px wide and high.
    """
    prediction, held = pair(prediction, reference)
    data_range = range(held) if data_range is None else data_range
    values = [
        structural_similarity(
            one.cpu().numpy(),
            other.cpu().numpy(),
            data_range=float(peak),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for one, other, peak in zip(prediction, held.images, data_range, strict=True)
    ]
    return torch.tensor(values, dtype=torch.float64, device=prediction.device)
