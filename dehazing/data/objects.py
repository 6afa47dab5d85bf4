"""What a simulated series can look at instead of lines: a stack that a real confocal microscope took."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dehazing.data.finite import is_finite
from dehazing.data.tiff import read_tiff


def read_stack(path: Path) -> np.ndarray:
    """A confocal stack as an object, (Z, Y, X) float32, its background (first percentile) taken off."""
    tiff = read_tiff(path)
    with np.errstate(over="ignore"):
        stack, axes = np.squeeze(tiff.values).astype(np.float32), tiff.axes
    if not is_finite(stack):
        raise ValueError(f"{path.name} must hold finite numbers within 32 bits, but does not.")
    if stack.ndim != 3 or axes[-2:] != "YX":
        raise ValueError(f"{path.name} must be a stack of planes (ZYX) to be an object, but its axes are {axes}.")
    return np.clip(stack - np.percentile(stack, 1), 0, None).astype(np.float32)
