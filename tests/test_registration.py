"""A known shift is found to a tenth of a pixel, under haze and noise, and undone."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, laplace, shift

from dehazing.data.registration import registered, shifted, shifts_to_clean
from dehazing.data.simulator import NumFields, SimulatedConfig, simulate

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


def test_moving_keeps_the_noise(clean):
    rng = np.random.default_rng(2)
    noisy = clean + rng.normal(0, 30, clean.shape)
    for by in ((0.5, 0.5), (0.3, -0.2), (2.5, 0.0)):
        inner = (slice(4, -4), slice(4, -4))
        before, after = laplace(noisy)[inner].std(), laplace(shifted(noisy, np.array(by)))[inner].std()
        assert after == pytest.approx(before, rel=0.03)


def test_a_moved_frame_is_the_frame_elsewhere(clean):
    moved = shifted(clean, np.array((3.0, -2.0)))
    np.testing.assert_allclose(moved[3:, :-2], clean[:-3, 2:], atol=1e-2)
    there_and_back = shifted(shifted(clean, np.array((0.4, 0.3))), np.array((-0.4, -0.3)))
    np.testing.assert_allclose(there_and_back[8:-8, 8:-8], clean[8:-8, 8:-8], atol=0.01 * float(np.ptp(clean)))


def test_only_the_levels_that_are_off_are_moved(frames):
    near = np.stack([frames[0], frames[0] + 1, frames[2]])
    moved, shifts = registered(near)
    np.testing.assert_array_equal(shifts[1], 0)
    np.testing.assert_array_equal(moved[1], near[1, :125, 1:])


def test_a_simulated_series_is_left_as_it_is():
    config = SimulatedConfig(num_fields=NumFields(4, 1, 1), field_px=128, depth_um=3.0)
    for field in simulate(config, progress=False).fields:
        moved, _ = registered(field.frames)
        assert moved is field.frames
