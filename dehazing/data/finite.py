"""Whether images hold nothing but numbers."""

from __future__ import annotations

import numpy as np


def is_finite(images: np.ndarray) -> bool:
    """Whether there is no NaN and no infinity in images of any shape; both extremes carry NaN on."""
    return bool(np.isfinite(images.min()) and np.isfinite(images.max()))


def first_not_finite(images: np.ndarray) -> tuple[int, ...]:
    """Where the first NaN or infinity is, in the order of memory; ValueError where there is none."""
    flat = int(np.argmin(np.isfinite(images)))
    place = np.unravel_index(flat, images.shape)
    if np.isfinite(images[place]):
        raise ValueError("There must be NaN or infinity to be found, but every number is finite.")
    return tuple(int(index) for index in place)
