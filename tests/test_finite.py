"""NaN and infinity are refused where a series enters, with the file, or the field and the level, that holds them."""

import numpy as np
import pytest
import tifffile

from dehazing.data.archive import load_series, save_series
from dehazing.data.finite import first_not_finite, is_finite
from dehazing.data.objects import read_stack
from dehazing.data.pinhole_series import PinholeSeriesConfig, read_series
from dehazing.data.series import Field, Series


def frames(levels=3, seed=0, side=8):
    return np.random.default_rng(seed).random((levels, side, side), np.float32)


def series(*fields, offset=(0.0,) * 3, scale=(1.0,) * 3):
    return Series(fields, (1.0, 2.0, float("inf")), "au", offset, scale)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_number_is_enough_and_is_found(value):
    image = frames()
    assert is_finite(image) and is_finite(np.arange(4))
    image[1, 2, 3] = value
    image[2, 0, 0] = np.nan
    assert not is_finite(image) and first_not_finite(image) == (1, 2, 3)
    with pytest.raises(ValueError, match="every number is finite"):
        first_not_finite(frames())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_series_names_the_field_and_the_level(value):
    good, bad = frames(), frames(seed=1)
    bad[2, 4, 4] = value
    series(Field("one", "train", good, good))
    with pytest.raises(ValueError, match=r"^Every frame must be finite, but two holds NaN or infinity at level 2\.$"):
        series(Field("one", "train", good), Field("two", "test", bad))
    with pytest.raises(ValueError, match=r"^Every noise-free image must be finite, but one holds .* at level 2\.$"):
        series(Field("one", "train", good, bad))


def test_a_series_of_an_archive_is_looked_at_too(tmp_path):
    image = frames()
    save_series(series(Field("one", "train", image)), tmp_path)
    load_series(tmp_path)
    damaged = series(Field("one", "train", image))
    image[0, 0, 0] = np.nan
    save_series(damaged, tmp_path)
    with pytest.raises(ValueError, match="one holds NaN or infinity at level 0"):
        load_series(tmp_path)


def test_a_field_has_every_level_and_the_normalisation_is_one():
    with pytest.raises(ValueError, match=r"must have the levels 0 … 2, but one has 2 levels"):
        series(Field("one", "train", frames(levels=2)))
    for offset, scale in ((np.nan, 1.0), (0.0, 0.0), (0.0, np.inf)):
        with pytest.raises(ValueError, match="finite offsets and positive scales, but level 1 has"):
            series(Field("one", "train", frames()), offset=(0.0, offset, 0.0), scale=(1.0, scale, 1.0))


def test_a_file_is_named_with_the_place(tmp_path):
    image = frames(side=64)
    image[1, 20, 30] = np.nan
    tifffile.imwrite(tmp_path / "cell.tif", image, photometric="minisblack", metadata={"axes": "CYX"})
    with pytest.raises(ValueError, match=r"cell\.tif .* NaN or infinity, first at C = 1, Y = 20, X = 30\.$"):
        read_series(PinholeSeriesConfig(str(tmp_path / "cell.tif"), pinholes=(1.0, 2.0, 3.0)))


def test_what_32_bits_make_infinite_is_refused_by_file_and_pinhole(tmp_path):
    image = frames(side=64).astype(np.float64)
    image[2] *= 1e300
    tifffile.imwrite(tmp_path / "cell.tif", image, photometric="minisblack", metadata={"axes": "CYX"})
    settings = {"pinholes": (3.0, 1.0, 2.0), "pinhole_unit": "au", "guard_px": 0}
    with pytest.raises(ValueError, match=r"cell\.tif: the frame of pinhole 2 must hold finite numbers within 32 bits"):
        read_series(PinholeSeriesConfig(str(tmp_path / "cell.tif"), **settings))
    tifffile.imwrite(tmp_path / "stack.tif", image, photometric="minisblack", metadata={"axes": "ZYX"})
    with pytest.raises(ValueError, match=r"stack\.tif must hold finite numbers within 32 bits"):
        read_stack(tmp_path / "stack.tif")
