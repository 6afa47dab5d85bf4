"""Which level a pinhole is, what lies far outside the training, and that normalisation is undone."""

import math

import numpy as np
import pytest

from dehazing.data.series import Field, Series
from dehazing.familiar import Gain, seen


def series(pinholes=(1.0, 4.0, 20.0), unit="au", pixel_size_um=0.1):
    """Fields of mean 100, 200, 400 and spread 10, 20, 40 at the three levels, one brighter by half."""
    rng = np.random.default_rng(0)
    fields = []
    for number, brightness in enumerate((1.0, 1.0, 1.5)):
        wave = rng.normal(size=(64, 64))
        wave = (wave - wave.mean()) / wave.std()
        frames = np.stack([brightness * (10 * wave + 100) * 2**t for t in range(3)]).astype(np.float32)
        fields.append(Field(f"f{number}", "train", frames))
    return Series(tuple(fields), pinholes, unit, (100.0, 200.0, 400.0), (10.0, 20.0, 40.0), pixel_size_um)


@pytest.mark.parametrize(
    ("pinhole", "level"), [(0.7, 0), (1, 0), (1.9, 0), (2.1, 1), (4, 1), (8.9, 1), (9, 2), (29, 2)]
)
def test_a_pinhole_is_the_level_whose_ratio_is_smallest(pinhole, level):
    """Between 4 and 20 the middle is 8.94, between 1 and 4 it is 2."""
    assert seen(series()).level_of(pinhole) == level


@pytest.mark.parametrize("pinhole", [0.6, 31, math.inf])
def test_a_pinhole_beyond_the_series_is_refused(pinhole):
    with pytest.raises(ValueError, match="one of those trained on, 1, 4, 20 au, or near one"):
        seen(series()).level_of(pinhole)


def test_an_open_pinhole_is_that_of_a_series_that_ends_open():
    known = seen(series((1.0, 4.0, math.inf), "px"))
    assert known.level_of(math.inf) == 2 and known.level_of(4.4) == 1
    assert known.name(2) == "level 2 (open)" and known.name(1) == "level 1 (4 px)"
    with pytest.raises(ValueError, match="1, 4, open px"):
        known.level_of(30)
    with pytest.raises(ValueError, match="must be positive"):
        known.level_of(-1)
    with pytest.raises(ValueError, match=r"made by Eq\. 2"):
        seen(series((0.0, 0.5, 1.0), "alpha")).level_of(0.5)


def test_the_training_frames_are_familiar_and_normalised_as_the_series_normalises():
    own = series()
    known, x = seen(own), own.x("train")
    for number, field in enumerate(own.fields):
        for t in range(3):
            assert known.unfamiliar_intensities(field.frames[t], t) is None
            np.testing.assert_allclose(known.normalised(field.frames[t], t), x[number, t], atol=1e-6)
        np.testing.assert_allclose(known.counts(x[number, 0]), field.frames[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("gain", "offset", "reason"),
    [
        (1.0, 0.0, None),
        (3.5, 0.0, None),
        (6.5, 0.0, "its standard deviation is 130, and those .* lie between 20 and 30"),
        (0.2, 0.0, "its standard deviation is 4,"),
        (1.0, 250.0, "its mean is 450, and those of .* lie between 200 and 300"),
        (1.0, -100.0, "its mean is 100"),
    ],
)
def test_intensities_far_outside_are_named(gain, offset, reason):
    own = series()
    plane = (own.fields[0].frames[1] - 200) * gain + 200 + offset
    found = seen(own).unfamiliar_intensities(plane, 1)
    assert found is None if reason is None else found is not None
    if reason is not None:
        with pytest.raises(ValueError, match=reason):
            raise ValueError(found)


@pytest.mark.parametrize(("pixel_size_um", "is_far"), [(0.1, False), (0.12, False), (0.13, True), (0.07, True)])
def test_pixels_of_another_size_are_named(pixel_size_um, is_far):
    assert (seen(series()).unfamiliar_pixels(pixel_size_um) is not None) == is_far
    assert seen(series()).unfamiliar_pixels(None) is None
    assert seen(series(pixel_size_um=None)).unfamiliar_pixels(pixel_size_um) is None


def test_another_gain_is_found_and_undone():
    own = series()
    known = seen(own)
    frame = own.fields[0].frames[2]
    plane = 0.25 * frame + 12
    gain = known.own_gain(float(plane.mean()), float(plane.std()), 2)
    assert gain == (pytest.approx(0.25, rel=1e-5), pytest.approx(12, abs=1e-3))
    np.testing.assert_allclose(known.normalised(plane, 2, gain), known.normalised(frame, 2), atol=1e-4)
    x_0 = np.linspace(-2, 5, 9, dtype=np.float32)
    np.testing.assert_allclose(known.counts(x_0, gain), 0.25 * known.counts(x_0) + 12, rtol=1e-5)
    np.testing.assert_allclose(known.spread_counts(x_0, Gain(0.5, 3.0)), 5 * x_0, rtol=1e-6)
    with pytest.raises(ValueError, match="must vary"):
        known.own_gain(5.0, 0.0, 1)
