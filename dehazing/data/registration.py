"""Registration of the levels of a field to its clean frame."""

from __future__ import annotations

import numpy as np
from scipy.fft import fftfreq, irfft2, rfft2, rfftfreq
from scipy.ndimage import gaussian_filter
from skimage.registration import phase_cross_correlation

FINE_PX, COARSE_PX = 0.8, 2.5  # the band in which levels look alike: neither noise nor haze
NEGLIGIBLE_PX = 0.1  # the estimate itself errs by up to 0.08 px under the default noise and haze


def band_passed(frame: np.ndarray) -> np.ndarray:
    """Difference of two Gaussians of 0.8 and 2.5 px, tapered to 0 at the borders, (Y, X)."""
    band = gaussian_filter(frame, FINE_PX) - gaussian_filter(frame, COARSE_PX)
    windows = [np.hanning(length + 2)[1:-1] for length in frame.shape]
    return band * windows[0][:, None] * windows[1][None, :]


def shifts_to_clean(frames: np.ndarray) -> np.ndarray:
    """The shift (y, x) in px that lays each level of (L, Y, X) onto level 0, (L, 2), to a tenth of a pixel.

    The cross-correlation is that of the band-passed levels without normalisation of its amplitude: dividing by it
    (phase correlation proper) would weigh every frequency alike, and outside the band there is only noise.
    """
    clean = band_passed(frames[0])
    found = [(0.0, 0.0)]
    for frame in frames[1:]:
        by, _, _ = phase_cross_correlation(clean, band_passed(frame), upsample_factor=50, normalization=None)
        found.append((float(by[0]), float(by[1])))
    return np.array(found)


def shifted(frame: np.ndarray, by: np.ndarray) -> np.ndarray:
    """A frame (Y, X) moved by (y, x) px: a phase ramp on its spectrum, so that its noise stays as strong as it was.

    Splines would smooth the noise of the moved levels alone. The frame is continued by its mirror image, so that
    nothing jumps at the borders.
    """
    num_y, num_x = frame.shape
    spectrum = rfft2(np.pad(frame, ((0, num_y), (0, num_x)), mode="symmetric"))
    phase = fftfreq(2 * num_y)[:, None] * by[0] + rfftfreq(2 * num_x) * by[1]
    return irfft2(spectrum * np.exp(-2j * np.pi * phase), s=(2 * num_y, 2 * num_x))[:num_y, :num_x]


def registered(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Levels (L, Y, X) laid onto level 0, cropped to what all of them show, and the shifts (L, 2) in px.

    A level that lies less than `NEGLIGIBLE_PX` off is left as it is, to the bit. ValueError where a shift exceeds an
    eighth of the image: then the levels do not show the same field.
    """
    shifts = shifts_to_clean(frames)
    limit = min(frames.shape[1:]) / 8
    if np.abs(shifts).max() > limit:
        level = int(np.abs(shifts).max(1).argmax())
        raise ValueError(
            f"All levels must show the same field, but level {level} lies {np.abs(shifts[level]).max():.1f} px off "
            f"level 0, more than {limit:.0f} px; set `register: false` to leave the levels as they are."
        )
    shifts[np.abs(shifts).max(1) <= NEGLIGIBLE_PX] = 0
    if not shifts.any():
        return frames, shifts
    moved = np.stack([shifted(frame, by) if by.any() else frame for frame, by in zip(frames, shifts, strict=True)])
    # Less than half a pixel at the border is filled from its mirror image, so that most images keep their size.
    first = np.rint(np.clip(shifts.max(0), 0, None)).astype(int)
    last = np.rint(np.clip(-shifts.min(0), 0, None)).astype(int)
    num_y, num_x = frames.shape[1:]
    return moved[:, first[0] : num_y - last[0], first[1] : num_x - last[1]].astype(np.float32), shifts
