"""The camera's noise is that of its description."""

import numpy as np
import pytest

from dehazing.data.camera import Camera


def test_mean_and_variance_are_poisson_gaussian():
    frame = Camera(read_noise=3.0, offset=100.0).expose(np.full((400, 400), 50.0), np.random.default_rng(0))
    assert frame.mean() == pytest.approx(150.0, abs=0.1)
    assert frame.var() == pytest.approx(50 + 9 + 1 / 12, rel=0.02)


def test_an_empty_object_is_only_offset_and_read_noise():
    frame = Camera(read_noise=2.0, offset=100.0).expose(np.zeros((300, 300)), np.random.default_rng(0))
    assert frame.mean() == pytest.approx(100.0, abs=0.05)
    assert frame.std() == pytest.approx(2.0, rel=0.03)


def test_impossible_cameras_are_refused():
    with pytest.raises(ValueError, match="photons > 0"):
        Camera(photons=0)
