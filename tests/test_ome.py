"""What is written as OME-TIFF is read back."""

import math
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import yaml

from dehazing.data.dataset import make_series, read_dataset
from dehazing.data.ome import write_series
from dehazing.data.ome_metadata import Acquisition, ome_acquisition, ome_pinholes
from dehazing.data.series import Field, Series
from dehazing.data.simulator import NumFields, SimulatedConfig, simulate
from dehazing.data.tiff import read_tiff


@pytest.fixture(scope="module")
def series():
    return simulate(SimulatedConfig(num_fields=NumFields(2, 1, 2), field_px=64, depth_um=2.0), progress=False)


def test_a_simulated_series_is_read_back_as_it_was(series, tmp_path):
    again = make_series(read_dataset(write_series(series, tmp_path, 1.4, 525.0)))
    assert again.pinholes == series.pinholes and again.pinhole_unit == series.pinhole_unit
    assert again.offset == series.offset and again.scale == series.scale
    assert again.pixel_size_um == series.pixel_size_um
    assert again.notes == ()
    for one, other in zip(again.fields, series.fields, strict=True):
        assert (one.name, one.split) == (other.name, other.split)
        np.testing.assert_array_equal(one.frames, other.frames)


def test_the_metadata_alone_say_the_pinholes(series, tmp_path):
    path = write_series(series, tmp_path, 1.4, 525.0)
    ome = read_tiff(tmp_path / "test" / "test_000.ome.tif").ome
    sizes, unit = ome_pinholes(ome)
    assert unit == "um"
    np.testing.assert_allclose(sizes, 1.22 * 0.525 / 1.4 * np.array(series.pinholes))
    record = yaml.safe_load(path.read_text())
    del record["pinholes"]
    path.write_text(yaml.safe_dump(record))
    np.testing.assert_allclose(make_series(read_dataset(path)).pinholes, series.pinholes)


def test_airy_units_without_an_aperture_stand_in_the_channels_names(series, tmp_path):
    write_series(series, tmp_path)
    assert ome_pinholes(read_tiff(tmp_path / "test" / "test_000.ome.tif").ome) == (series.pinholes, "au")


def test_an_open_pinhole_and_pixels_survive(tmp_path):
    rng = np.random.default_rng(0)
    fields = tuple(
        Field(name, split, rng.random((2, 80, 80)).astype(np.float32))
        for name, split in (("a", "train"), ("b", "validation"), ("c", "test"))
    )
    series = Series(fields, (2.0, math.inf), "px", (0.0, 0.0), (1.0, 1.0))
    again = make_series(read_dataset(write_series(series, tmp_path)))
    assert again.pinholes == (2.0, math.inf) and again.pinhole_unit == "px"
    np.testing.assert_array_equal(again.fields[0].frames, fields[0].frames)
    assert ome_pinholes(read_tiff(tmp_path / "train" / "a.ome.tif").ome) == ((2.0, math.inf), "px")


def test_a_series_without_pinholes_is_refused(series, tmp_path):
    with pytest.raises(ValueError, match="Only a series of pinholes"):
        write_series(replace(series, pinhole_unit="alpha"), tmp_path)


def with_objective(path):
    """OME-XML as microscopes write it, with an objective."""
    ome = tifffile.tiffcomment(path)
    objective = '<Instrument ID="Instrument:0"><Objective ID="Objective:0" LensNA="1.4"/></Instrument>'
    tifffile.tiffcomment(path, ome.replace("<Image ", f"{objective}<Image ", 1).encode())


def test_pixels_and_optics_are_read_from_the_metadata(series, tmp_path):
    path = write_series(series, tmp_path, 1.4, 525.0)
    for file in tmp_path.rglob("*.tif"):
        with_objective(file)
    assert ome_acquisition(read_tiff(tmp_path / "test" / "test_000.ome.tif").ome) == Acquisition(0.1, 1.4, 525.0)
    record = yaml.safe_load(path.read_text())
    for key in ("pinholes", "pixel_size_um", "numerical_aperture", "emission_nm"):
        del record[key]
    path.write_text(yaml.safe_dump(record))
    again = make_series(read_dataset(path))
    assert again.pixel_size_um == pytest.approx(0.1) and again.pinhole_unit == "au"
    np.testing.assert_allclose(again.pinholes, series.pinholes)
    path.write_text(yaml.safe_dump({**record, "pixel_size_um": 0.2}))
    again = make_series(read_dataset(path))
    assert again.pixel_size_um == 0.2
    (note,) = again.notes
    assert "its metadata say `pixel_size_um` 0.1, the YAML 0.2; the YAML is followed" in note


@pytest.mark.parametrize("ome", [None, "", "<OME", '<OME xmlns="a"><Image/></OME>', '<a:OME xmlns:a="b"/>'])
def test_metadata_that_say_nothing(ome):
    assert ome_acquisition(ome) == Acquisition() and ome_pinholes(ome) is None


def test_units_of_the_metadata():
    text = (
        '<OME xmlns="a"><Image><Pixels PhysicalSizeX="65" PhysicalSizeXUnit="nm">'
        '<Channel EmissionWavelength="0.6" EmissionWavelengthUnit="µm"/></Pixels></Image></OME>'
    )
    found = ome_acquisition(text)
    assert found.pixel_size_um == pytest.approx(0.065) and found.emission_nm == pytest.approx(600)
