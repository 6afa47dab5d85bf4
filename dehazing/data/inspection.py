"""What may be wrong with a series although it can be read."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import maximum_filter, median_filter, minimum_filter

SATURATED_SHARE = 1e-4
OUTLYING = 4.0  # robust standard deviations


def inspect(frames: list[np.ndarray], pinholes: tuple[float, ...]) -> list[str]:
    """One sentence for saturation, for brightness that does not grow with the pinhole, and for fixed pixels.

    `frames`: of each field of view, (L, Y, X), in the order of the rising pinholes.
    """
    return [*_saturation(frames, pinholes), *_brightness(frames, pinholes), *_fixed_pattern(frames)]


def _saturation(frames: list[np.ndarray], pinholes: tuple[float, ...]) -> list[str]:
    notes = []
    for level, pinhole in enumerate(pinholes):
        top = max(float(field[level].max()) for field in frames)
        at_top = sum(int((field[level] == top).sum()) for field in frames)
        pixels = sum(field[level].size for field in frames)
        if at_top > max(8, SATURATED_SHARE * pixels):
            notes.append(f"Pinhole {pinhole:g}: {at_top} pixels lie at the top value {top:g}: saturated?")
    return notes


def _brightness(frames: list[np.ndarray], pinholes: tuple[float, ...]) -> list[str]:
    means = [float(np.mean([field[level].mean() for field in frames])) for level in range(len(pinholes))]
    falls = [f"{pinholes[i]:g} → {pinholes[i + 1]:g}" for i in range(len(means) - 1) if means[i + 1] <= means[i]]
    if not falls:
        return []
    return [f"The brightness does not grow with the pinhole at {', '.join(falls)}: bleaching, or a changed gain?"]


def _fixed_pattern(frames: list[np.ndarray]) -> list[str]:
    """Pixels that stand out from their neighbours, with one sign, at every level of every field of one shape.

    Standing out is beyond the 24 neighbours by more than these differ among themselves, which no image of a lens does
    that is sampled finely enough, and by more than noise.
    """
    around = np.ones((5, 5), bool)
    around[2, 2] = False
    alike = [field for field in frames if field.shape == frames[0].shape]
    above = below = np.ones(frames[0].shape[1:], bool)
    for field in alike:
        for frame in field:
            rest = frame - median_filter(frame, 3)
            noise = 1.4826 * float(np.median(np.abs(rest))) or float(rest.std()) or 1.0
            high, low = maximum_filter(frame, footprint=around), minimum_filter(frame, footprint=around)
            limit = np.maximum(high - low, OUTLYING * noise)
            above, below = above & (frame - high > limit), below & (low - frame > limit)
    num = int(above.sum() + below.sum())
    return [f"{num} pixels stand out from their neighbours at every level: fixed pattern of the sensor?"] if num else []
