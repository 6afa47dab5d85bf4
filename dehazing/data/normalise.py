"""Normalisation per level, from training statistics only."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dehazing.data.series import Field


def normalisation(fields: Iterable[Field]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Offset and scale of each level, (T + 1,): mean and standard deviation of its training frames.

    ValueError where a level does not vary over the training frames.
    """
    train = [field.frames for field in fields if field.split == "train"]
    assert train, "a series has training fields"
    pixels = sum(frames[0].size for frames in train)
    offset = sum(frames.sum((1, 2), dtype=np.float64) for frames in train) / pixels
    squares = sum(((frames - offset[:, None, None]) ** 2).sum((1, 2)) for frames in train) / pixels
    scale = np.sqrt(squares)
    if not (scale > 0).all():
        raise ValueError(
            f"Every level must vary over the training frames, but level {int(scale.argmin())} is constant."
        )
    return tuple(map(float, offset)), tuple(map(float, scale))
