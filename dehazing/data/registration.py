"""Registration of the levels of a field to its clean frame."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, shift
from skimage.registration import phase_cross_correlation

FINE_PX, COARSE_PX = 1.0, 6.0  # the band in which levels look alike: neither noise nor haze
NEGLIGIBLE_PX = 0.02


def band_passed(frame: np.ndarray) -> np.ndarray:
    """Difference of two Gaussians of 1 and 6 px, tapered to 0 at the borders, (Y, X)."""
    band = gaussian_filter(frame, FINE_PX) - gaussian_filter(frame, COARSE_PX)
    windows = [np.hanning(length + 2)[1:-1] for length in frame.shape]
    return band * windows[0][:, None] * windows[1][None, :]


def shifts_to_clean(frames: np.ndarray) -> np.ndarray:
    """The shift (y, x) in px that lays each level of (L, Y, X) onto level 0, (L, 2), to 0.02 px."""
    clean = band_passed(frames[0])
    found = [(0.0, 0.0)]
    for frame in frames[1:]:
        by, _, _ = phase_cross_correlation(clean, band_passed(frame), upsample_factor=50, normalization=None)
        found.append((float(by[0]), float(by[1])))
    return np.array(found)


def registered(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Levels (L, Y, X) laid onto level 0, cropped to what all of them show, and the shifts (L, 2) in px.

    ValueError where a shift exceeds an eighth of the image: then the levels do not show the same field.
    """
    shifts = shifts_to_clean(frames)
    limit = min(frames.shape[1:]) / 8
    if np.abs(shifts).max() > limit:
        level = int(np.abs(shifts).max(1).argmax())
        raise ValueError(
            f"All levels must show the same field, but level {level} lies {np.abs(shifts[level]).max():.1f} px off "
            f"level 0, more than {limit:.0f} px; set `register: false` to leave the levels as they are."
        )
    if np.abs(shifts).max() <= NEGLIGIBLE_PX:
        return frames, shifts
    moved = np.stack(
        [
            frame if not by.any() else shift(frame, by, order=3, mode="nearest")
            for frame, by in zip(frames, shifts, strict=True)
        ]
    )
    # Less than half a pixel at the border is filled from its neighbour, so that most images keep their size.
    first = np.rint(np.clip(shifts.max(0), 0, None)).astype(int)
    last = np.rint(np.clip(-shifts.min(0), 0, None)).astype(int)
    num_y, num_x = frames.shape[1:]
    return moved[:, first[0] : num_y - last[0], first[1] : num_x - last[1]].astype(np.float32), shifts
