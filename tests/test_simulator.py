"""Simulated series obey the light: more pinhole, more haze; twice the object, twice the light."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.fft import rfft2

from dehazing.data.camera import Camera
from dehazing.data.dataset import make_series, read_dataset
from dehazing.data.lines import Lines, random_lines
from dehazing.data.ome import write_series
from dehazing.data.simulator import NumFields, SimulatedConfig, focal_plane_image, simulate
from dehazing.optics import Optics, integral, kernels, radial_psfs, transfer_functions

SMALL = SimulatedConfig(num_fields=NumFields(3, 1, 2), field_px=64, pad_px=32, depth_um=3.0)
POLLEN = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "stacks" / "pollen.tif"


@pytest.fixture(scope="module")
def series():
    return simulate(SMALL, progress=False)


def test_the_same_configuration_gives_the_same_bytes(series):
    again = simulate(SMALL, progress=False)
    for one, other in zip(series.fields, again.fields, strict=True):
        assert one.frames.tobytes() == other.frames.tobytes()
        assert one.truth.tobytes() == other.truth.tobytes()


def test_another_seed_gives_another_object(series):
    other = simulate(replace(SMALL, seed=1), progress=False)
    assert not np.array_equal(series.fields[0].truth, other.fields[0].truth)


def test_a_field_does_not_depend_on_the_number_of_the_others(series):
    fewer = simulate(replace(SMALL, num_fields=NumFields(1, 1, 1)), progress=False)
    truth = {field.name: field.truth for field in series.fields}
    for field in fewer.fields:
        np.testing.assert_array_equal(field.truth, truth[field.name])


def test_shapes_splits_and_levels(series):
    assert series.T == 4 and series.pinhole_unit == "au"
    assert series.x("train").shape == (3, 5, 64, 64)
    assert series.truth("test").shape == (2, 5, 64, 64)
    x = series.x("train")
    np.testing.assert_allclose(x.mean((0, 2, 3)), 0, atol=1e-3)
    np.testing.assert_allclose(x.std((0, 2, 3)), 1, rtol=1e-3)


def test_brightness_is_kept_and_rises_with_the_pinhole(series):
    light = np.mean([field.truth.mean((1, 2)) for field in series.fields], axis=0) - SMALL.camera.offset
    assert (np.diff(light) > 0).all()
    assert light[-1] > 5 * light[0]


def test_fields_differ_in_density_and_brightness(series):
    light = [field.truth[0].mean() - SMALL.camera.offset for field in series.fields]
    assert max(light) > 1.2 * min(light)


def test_twice_the_object_gives_twice_the_light():
    transfer = transfer_functions(Optics(), (1.0, 4.0), np.array([0.0, 0.5]), 0.1, 64)
    rng = np.random.default_rng(0)
    planes = rfft2(random_lines(Lines(), (3, 64, 64), 0.5, 0.1, rng))
    np.testing.assert_allclose(
        focal_plane_image(2 * planes, transfer, 1), 2 * focal_plane_image(planes, transfer, 1), rtol=1e-5, atol=1e-7
    )


def test_light_is_conserved_over_the_ladder():
    """A uniform object, its defocus disks wider than the grid: each level holds what its pinhole detects, unscaled."""
    pinholes, depths = (0.5, 1.0, 4.0, 20.0, float("inf")), np.arange(11) * 0.5
    r, h = radial_psfs(Optics(), pinholes, depths)
    detected = integral(h, r)
    uniform = rfft2(np.full((21, 64, 64), 7.0, np.float32))
    image = focal_plane_image(uniform, transfer_functions(Optics(), pinholes, depths, 0.1, 64), focus=10)
    expected = 7 * (detected[:, 0] + 2 * detected[:, 1:].sum(1))
    np.testing.assert_allclose(image, np.broadcast_to(expected[:, None, None], image.shape), rtol=1e-3)
    assert (np.diff(expected) > 0).all()
    assert expected[-1] == pytest.approx(7 * 21, rel=0.003)


def test_the_focal_plane_image_is_the_sum_of_direct_convolutions():
    arguments = (Optics(), (1.0, 4.0), np.array([0.0, 0.5]), 0.1, 32)
    volume = np.zeros((3, 32, 32), np.float32)
    points = [(0, 3, 30, 2.0), (1, 16, 16, 1.0), (2, 20, 5, 3.0)]
    for z, y, x, value in points:
        volume[z, y, x] = value
    kernel = kernels(*arguments)
    expected = sum(v * np.roll(kernel[:, abs(z - 1)], (y, x), (1, 2)) for z, y, x, v in points)
    image = focal_plane_image(rfft2(volume), transfer_functions(*arguments), 1)
    np.testing.assert_allclose(image, expected, atol=1e-5)


def test_an_in_focus_line_peaks_at_the_stated_photons():
    lines = Lines((12.0, 12.0), (6.0, 6.0), (1.0, 1.0), 0.0, 0.0, 0.0)
    config = replace(SMALL, lines=lines, camera=Camera(photons=200.0), num_fields=NumFields(12, 1, 1))
    peaks = [field.truth[0].max() - 100.0 for field in simulate(config, progress=False).fields]
    assert 100 < max(peaks) < 450  # one line in focus, or two that cross


def test_lines_lose_no_light_but_beyond_the_first_and_last_plane():
    lines = Lines((50.0, 50.0), (4.0, 4.0), (1.0, 1.0), 0.0, 0.0)
    volume = random_lines(lines, (9, 64, 64), 0.5, 0.1, np.random.default_rng(0))
    num = np.random.default_rng(0)
    expected = num.poisson(num.uniform(50.0, 50.0) * 9 * 0.5 * 6.4**2 / 1000) * 4.0
    assert 0.85 * expected <= volume.sum() <= 1.001 * expected


def test_quickstart_is_made_in_seconds():
    """A tenth of the default series, so at most a tenth of 25 s."""
    started = time.process_time()
    simulate(SimulatedConfig(num_fields=NumFields(4, 2, 2)), progress=False)
    assert time.process_time() - started < 5


def test_a_stack_serves_as_the_object(tmp_path):
    rng = np.random.default_rng(0)
    stack = 1000 * random_lines(Lines((200.0, 200.0)), (12, 200, 80), 0.5, 0.1, rng) + 50
    tifffile.imwrite(tmp_path / "stack.tif", stack.astype(np.uint16), photometric="minisblack")
    config = replace(SMALL, object=str(tmp_path / "stack.tif"), num_fields=NumFields(2, 1, 1), dz_um=0.5)
    series = simulate(config, progress=False)
    assert series.regions_of_one_field
    assert series.x("train").shape == (2, 5, 64, 64)
    assert np.all(np.diff(series.offset) > 0)
    again = make_series(read_dataset(write_series(series, tmp_path / "out", 1.4, 525.0)))
    assert again.offset == series.offset
    for one, other in zip(again.fields, series.fields, strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)


@pytest.mark.skipif(not POLLEN.exists(), reason="../shared/data/stacks/pollen.tif is absent")
def test_a_real_confocal_stack_serves_as_the_object():
    with pytest.raises(ValueError, match=r"`field_px` must be at most 80 .* but is 128"):
        simulate(SimulatedConfig(object=str(POLLEN)), progress=False)


@pytest.mark.skipif(not POLLEN.exists(), reason="../shared/data/stacks/pollen.tif is absent")
def test_a_real_confocal_stack_is_simulated_and_read_back(tmp_path):
    series = simulate(SimulatedConfig(object=str(POLLEN), field_px=64), progress=False)
    assert np.all(np.diff(series.offset) > 0)
    assert any("16/2/4" in note for note in series.notes)
    path = write_series(series, tmp_path, 1.4, 525.0)
    again = make_series(read_dataset(path))
    assert again.pinholes == series.pinholes and again.scale == series.scale
    for one, other in zip(again.fields, series.fields, strict=True):
        assert (one.name, one.split) == (other.name, other.split)
        np.testing.assert_array_equal(one.frames, other.frames)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"pinholes_au": (1.0,)}, "at least two pinholes"),
        ({"pinholes_au": (2.0, 1.0)}, "must be positive and rise"),
        ({"dz_um": 0.0}, "dz_um"),
        ({"seed": -1}, "seed >= 0"),
        ({"field_px": 8}, "field_px >= 16"),
        ({"field_px": 10**30}, "none above 32768"),
        ({"field_px": 20_000}, "at most 16 GiB of memory, but `field_px` = 20000"),
        ({"dz_um": 1e-9}, "at most 16 GiB"),
        ({"num_fields": NumFields(1_000_000, 1, 1)}, "at most 16 GiB"),
        ({"depth_um": float("inf")}, "all finite"),
        ({"dz_um": float("inf"), "depth_um": float("inf")}, "all finite"),
        ({"pixel_size_um": float("inf")}, "all finite"),
        ({"pixel_size_um": 100.0}, "at most 1.45 µm, 16 periods of the finest detail"),
    ],
)
def test_impossible_settings_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        SimulatedConfig(**settings)


def test_an_infinite_object_or_camera_is_refused():
    with pytest.raises(ValueError, match="photons"):
        Camera(photons=float("inf"))
    with pytest.raises(ValueError, match="length_um"):
        Lines(length_um=(1.0, float("inf")))
    with pytest.raises(ValueError, match="tilt_deg"):
        Lines(tilt_deg=float("inf"))
    with pytest.raises(ValueError, match="No split may have more"):
        NumFields(10**30, 1, 1)
