"""What HDN's posterior samples are worth: PSNR of their mean by their number, their spread, and its calibration.

The truth is one more sample of a posterior that is right. So the square error of the mean of N samples is, where the
variance is σ², σ² (1 + 1/N) on average: the root of that is called spread here, and the RMSE of pixels against
their spread is a line of slope 1 through 0. A variance of few samples is itself noisy, and bins made from it would
bend that line. So half of the samples sort the pixels into bins, the other half tells the spread, and vice versa.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dehazing import metrics

NUM_BINS = 12  # of as many pixels each
MAX_PIXELS = 2**22  # that are binned, evenly taken
NEEDED = 4  # samples for a calibration: two for each half's variance


def measured_posterior(samples: Iterable[Tensor], reference: metrics.Reference) -> dict[str, Any]:
    """The record of N samples (N, Y, X) per field against the reference (F, Y, X); plain numbers.

    psnr: dB by the number of samples that are averaged, 1, 2, 4 … N, the mean over fields and over as many
    disjoint groups as there are. spread: root of the mean variance of a sample. calibration: bins of equal size by
    rising spread, slope and intercept of the straight line through them (None where all spread alike); None with
    fewer than NEEDED samples.
    """
    psnr: dict[int, list[float]] = {}
    halves: list[np.ndarray] = []  # per field (3, 2, pixels): what sorts, what tells, the square error
    variances, num_samples = [], 0
    stride = max(1, -(-reference.images.numel() // MAX_PIXELS))
    for drawn, truth in zip(samples, reference.fields(), strict=True):
        drawn = drawn.double()
        num_samples = len(drawn)
        for num in _numbers(num_samples):
            groups = drawn[: num_samples // num * num].unflatten(0, (-1, num)).mean(1)
            psnr.setdefault(num, []).append(
                float(torch.cat([metrics.psnr(group[None], truth) for group in groups]).mean())
            )
        if num_samples > 1:
            variances.append(float(drawn.var(0).mean()))
        if num_samples >= NEEDED:
            halves.append(_sorting_and_telling(drawn, truth.images[0], stride))
    return {
        "num_samples": num_samples,
        "psnr": [{"num": num, "psnr": float(np.mean(values))} for num, values in psnr.items()],
        "spread": float(np.sqrt(np.mean(variances))) if variances else None,
        "calibration": _calibration(np.concatenate(halves, axis=1), num_samples) if halves else None,
    }


def _numbers(num_samples: int) -> list[int]:
    """1, 2, 4 … and the number itself."""
    powers = [2**k for k in range(num_samples.bit_length())]
    return sorted({*powers, num_samples})


def _sorting_and_telling(drawn: Tensor, truth: Tensor, stride: int) -> np.ndarray:
    """(3, pixels): the variance of one half, that of the other, the square error; every pixel once either way."""
    half = len(drawn) // 2
    first, second = (part.var(0).flatten()[::stride] for part in (drawn[:half], drawn[half:]))
    error = ((drawn.mean(0) - truth) ** 2).flatten()[::stride]
    rows = (torch.cat([first, second]), torch.cat([second, first]), torch.cat([error, error]))
    return torch.stack(rows).cpu().numpy()


def _calibration(pixels: np.ndarray, num_samples: int) -> dict[str, Any]:
    sorting, telling, error = pixels
    bins = np.array_split(np.argsort(sorting, kind="stable"), NUM_BINS)
    spread = np.sqrt([telling[members].mean() * (1 + 1 / num_samples) for members in bins])
    rmse = np.sqrt([error[members].mean() for members in bins])
    centred = spread - spread.mean()
    power = float(np.sum(centred**2))
    slope = float(np.sum(centred * rmse)) / power if power > 0 else None
    return {
        "bins": [{"spread": float(a), "rmse": float(b)} for a, b in zip(spread, rmse, strict=True)],
        "slope": slope,
        "intercept": None if slope is None else float(rmse.mean() - slope * spread.mean()),
    }
