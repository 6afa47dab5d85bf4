"""A known shift is found to a tenth of a pixel, under haze and noise, and undone."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from dehazing.data.registration import registered, shifts_to_clean

TRUE = [(0.0, 0.0), (0.3, -0.2), (2.6, -1.4)]


@pytest.fixture(scope="module")
def clean():
    rng = np.random.default_rng(0)
    return 3000 * gaussian_filter(rng.random((128, 144)) ** 20, 1.5).astype(np.float32)


@pytest.fixture(scope="module")
def frames(clean):
    rng = np.random.default_rng(1)
    hazy = [
        shift(clean + 0.5 * level * gaussian_filter(clean, 12), by, order=5, mode="nearest")
        + rng.normal(0, 3, clean.shape)
        for level, by in enumerate(TRUE)
    ]
    return np.stack(hazy).astype(np.float32)


def test_finds_the_shifts_under_haze_and_noise(frames):
    np.testing.assert_allclose(shifts_to_clean(frames), -np.array(TRUE), atol=0.1)


def test_registered_levels_lie_on_the_clean_frame(frames):
    moved, _ = registered(frames)
    assert moved.shape == (3, 125, 143)
    np.testing.assert_allclose(shifts_to_clean(moved), 0, atol=0.1)
    np.testing.assert_array_equal(moved[0], frames[0, :125, 1:])
    assert (
        np.corrcoef(moved[2].ravel(), moved[0].ravel())[0, 1] > np.corrcoef(frames[2].ravel(), frames[0].ravel())[0, 1]
    )


def test_aligned_levels_are_left_alone(clean):
    frames = np.stack([clean, 2 * clean])
    moved, shifts = registered(frames)
    assert moved is frames
    np.testing.assert_array_equal(shifts, 0)


def test_levels_of_another_field_are_refused(clean):
    with pytest.raises(ValueError, match="must show the same field"):
        registered(np.stack([clean, np.roll(clean, (40, 30), (0, 1))]))
