"""A real series is read as its YAML and metadata say, and what does not fit is refused with one sentence."""

import math
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from dehazing.data.inspection import inspect
from dehazing.data.pinhole_files import find_files
from dehazing.data.pinhole_series import PinholeSeriesConfig, read_series
from dehazing.data.split import Fractions

KIDNEY = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "pinhole_series" / "kidney.tif"


def levels(seed=0, num=3, size=(96, 80)):
    """Levels of growing brightness, (L, Y, X) uint16."""
    rng = np.random.default_rng(seed)
    clean = 3000 * gaussian_filter(rng.random(size) ** 20, 1.5)
    stack = [100 + (t + 1) * clean + 5 * t * gaussian_filter(clean, 8) for t in range(num)]
    return (np.stack(stack) + rng.normal(0, 2, (num, *size))).clip(0).astype(np.uint16)


def write(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, image, photometric="minisblack", **options)


@pytest.fixture
def fovs(tmp_path):
    for index in range(4):
        write(tmp_path / f"cell{index}.tif", levels(index), metadata={"axes": "CYX"})
    return tmp_path


def read(path, **settings):
    return read_series(PinholeSeriesConfig(**{"path": str(path), "pinhole_unit": "au", "register": False, **settings}))


def test_one_file_per_field_of_view(fovs):
    series = read(fovs / "*.tif", pinholes=(1.0, 2.0, math.inf))
    assert series.pinholes == (1.0, 2.0, math.inf)
    assert sorted(field.name for field in series.fields) == ["cell0", "cell1", "cell2", "cell3"]
    assert [len(series.names(split)) for split in ("train", "validation", "test")] == [2, 1, 1]
    assert not series.regions_of_one_field
    for field in series.fields:
        np.testing.assert_array_equal(field.frames, levels(int(field.name[-1])))
    x = series.x("train")
    np.testing.assert_allclose(x.mean((0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(x.std((0, 2, 3)), 1, rtol=1e-4)


def test_one_file_per_pinhole_and_field_by_pattern(tmp_path):
    for index in range(3):
        for level, name in enumerate(("1.5", "10", "open")):
            write(tmp_path / f"cell{index}_p{name}.tif", levels(index)[level])
    series = read(tmp_path / "{fov}_p{pinhole}.tif")
    assert series.pinholes == (1.5, 10.0, math.inf)
    for field in series.fields:
        np.testing.assert_array_equal(field.frames, levels(int(field.name[-1])))


def test_one_file_per_pinhole_in_natural_order(tmp_path):
    for level, name in enumerate(("2", "10", "30")):
        write(tmp_path / f"p{name}.tif", levels(0, size=(300, 70))[level])
    series = read(tmp_path / "p*.tif", pinholes=(2.0, 10.0, 30.0), guard_px=8)
    assert series.regions_of_one_field
    assert series.T == 2


def test_settings_out_of_order_are_sorted_and_that_is_said(fovs):
    series = read(fovs / "*.tif", pinholes=(3.0, 1.0, 2.0))
    assert series.pinholes == (1.0, 2.0, 3.0)
    assert any("sorted" in note for note in series.notes)
    field = series.fields[0]
    np.testing.assert_array_equal(field.frames, levels(int(field.name[-1]))[[1, 2, 0]])


def test_smaller_pinholes_than_the_clean_one_are_left_out_and_that_is_said(fovs):
    series = read(fovs / "*.tif", pinholes=(1.0, 2.0, 3.0), clean=2.0)
    assert series.pinholes == (2.0, 3.0)
    assert any("Left out" in note for note in series.notes)


def test_the_yamls_axes_win_and_a_disagreement_is_said(tmp_path):
    for index in range(3):
        write(tmp_path / f"{index}.tif", levels(index), metadata={"axes": "ZYX"})
    series = read(tmp_path / "*.tif", pinholes=(1.0, 2.0, 3.0), axes="CYX")
    assert any("metadata says axes ZYX" in note for note in series.notes)


def test_axes_in_another_order(tmp_path):
    for index in range(3):
        write(tmp_path / f"{index}.tif", np.moveaxis(levels(index), 0, -1), metadata=None)
    series = read(tmp_path / "*.tif", pinholes=(1.0, 2.0, 3.0), axes="YXC")
    np.testing.assert_array_equal(series.fields[0].frames, levels(int(series.fields[0].name)))


def test_fields_of_view_in_one_file(tmp_path):
    write(tmp_path / "all.tif", np.stack([levels(i) for i in range(4)]))
    series = read(tmp_path / "all.tif", pinholes=(1.0, 2.0, 3.0), axes="PCYX")
    assert len(series.fields) == 4


def test_imagej_hyperstack_and_bigtiff_and_compressed(tmp_path):
    write(tmp_path / "0.tif", levels(0), imagej=True, metadata={"axes": "CYX"})
    write(tmp_path / "1.tif", levels(1), bigtiff=True, compression="zlib")
    write(tmp_path / "2.tif", levels(2).astype(np.float32), tile=(32, 32))
    series = read(tmp_path / "*.tif", pinholes=(1.0, 2.0, 3.0))
    for field in series.fields:
        np.testing.assert_array_equal(field.frames, levels(int(field.name)))


def ome(path, image, sizes, unit="µm"):
    channel = {
        "Name": [f"c{i}" for i in range(len(sizes))],
        "PinholeSize": sizes,
        "PinholeSizeUnit": [unit] * len(sizes),
    }
    write(path, image, ome=True, metadata={"axes": "CYX", "Channel": channel})


def test_pinholes_from_ome_metadata(tmp_path):
    for index in range(3):
        ome(tmp_path / f"{index}.ome.tif", levels(index), [45.75, 91.5, 183.0])
    series = read(tmp_path / "*.tif", pinhole_unit=None)
    assert series.pinholes == (45.75, 91.5, 183.0) and series.pinhole_unit == "um"
    objective = {"numerical_aperture": 1.4, "emission_nm": 525.0, "magnification": 100.0}
    np.testing.assert_allclose(read(tmp_path / "*.tif", **objective).pinholes, (1.0, 2.0, 4.0))
    with pytest.raises(ValueError, match="au from um needs"):
        read(tmp_path / "*.tif")


def test_the_yamls_pinholes_win_and_a_disagreement_is_said(tmp_path):
    for index in range(3):
        ome(tmp_path / f"{index}.ome.tif", levels(index), [10.0, 20.0, 30.0])
    series = read(tmp_path / "*.tif", pinholes=(1.0, 2.0, 3.0), pinhole_unit="um")
    assert series.pinholes == (1.0, 2.0, 3.0)
    assert any("the YAML is followed" in note for note in series.notes)


def test_a_pinhole_of_minus_one_says_nothing(tmp_path):
    for index in range(3):
        ome(tmp_path / f"{index}.ome.tif", levels(index), [-1.0, -1.0, -1.0])
    with pytest.raises(ValueError, match="`pinholes` must be given"):
        read(tmp_path / "*.tif")


def test_one_field_is_divided_into_regions_with_tiles(tmp_path):
    write(tmp_path / "a.tif", levels(0, size=(560, 260)))
    series = read(tmp_path / "a.tif", pinholes=(1.0, 2.0, 3.0), guard_px=16, split=Fractions(0.5, 0.25, 0.25))
    assert series.regions_of_one_field
    assert series.x("train").shape == (1, 3, 264, 260)
    assert series.x("test").shape == (8, 3, 64, 64)


def test_shifted_levels_are_registered_and_the_shifts_reported(tmp_path):
    for index in range(3):
        stack = levels(index, size=(128, 128))
        stack[2] = np.roll(stack[2], (2, -3), (0, 1))
        write(tmp_path / f"{index}.tif", stack)
    series = read(tmp_path / "*.tif", pinholes=(1.0, 2.0, 3.0), register=True)
    assert sum("registered to the clean frame" in note for note in series.notes) == 3
    x = series.x("train")
    assert np.corrcoef(x[0, 0].ravel(), x[0, 2].ravel())[0, 1] > 0.8


def refuse(sentence, path, **settings):
    with pytest.raises(ValueError, match=sentence) as refusal:
        read(path, **settings)
    assert "\n" not in str(refusal.value)


def test_what_does_not_fit_is_refused(fovs):
    three = {"pinholes": (1.0, 2.0, 3.0)}
    refuse("nothing matches", fovs / "*.png")
    refuse(r"one entry per level, but has 2 and cell0.tif has 3", fovs / "*.tif", pinholes=(1.0, 2.0))
    refuse("`clean` must be one of the pinholes", fovs / "*.tif", clean=5.0, **three)
    assert read(fovs / "*.tif", clean=2.01, **three).pinholes == (2.0, 3.0)
    refuse("`clean` must be one of the pinholes", fovs / "*.tif", clean=2.1, **three)
    refuse("only one", fovs / "*.tif", clean=3.0, **three)
    refuse("must be positive and differ", fovs / "*.tif", pinholes=(1.0, 1.0, 2.0))
    refuse("`axes` must name the 3 dimensions", fovs / "*.tif", axes="YX", **three)
    refuse("nearest: {fov}", fovs / "{fvo}.tif", **three)
    write(fovs / "cell9.tif", levels(9, num=2))
    refuse("same number of levels", fovs / "*.tif", **three)


def test_images_smaller_than_a_patch_are_refused(tmp_path):
    write(tmp_path / "a.tif", levels(0, size=(60, 300)))
    refuse("at least a patch", tmp_path / "a.tif", pinholes=(1.0, 2.0, 3.0))
    write(tmp_path / "a.tif", levels(0, size=(100, 100)))
    refuse("at least 64 x 256 px", tmp_path / "a.tif", pinholes=(1.0, 2.0, 3.0))


def test_a_single_level_is_refused(tmp_path):
    write(tmp_path / "a.tif", levels(0)[0])
    refuse("at least two levels", tmp_path / "a.tif", pinholes=(1.0,))


def test_a_constant_level_is_refused(tmp_path):
    stack = levels(0)
    stack[1] = 7
    write(tmp_path / "a.tif", stack)
    refuse("pinhole 2 is constant", tmp_path / "a.tif", pinholes=(1.0, 2.0, 3.0))


def test_levels_of_different_shapes_are_refused(tmp_path):
    write(tmp_path / "f_1.tif", levels(0)[0])
    write(tmp_path / "f_2.tif", levels(0, size=(80, 80))[1])
    refuse("one shape", tmp_path / "{fov}_{pinhole}.tif")


def test_a_real_z_stack_with_time_is_refused(tmp_path):
    write(tmp_path / "a.tif", np.stack([levels(i) for i in range(2)]), imagej=True, metadata={"axes": "TZYX"})
    refuse("must have the axes Y, X and one of the pinhole", tmp_path / "a.tif", pinholes=(1.0, 2.0, 3.0))


def test_warnings_for_saturation_falling_brightness_and_fixed_pixels():
    good = levels(0).astype(np.float32)
    assert inspect([good], (1.0, 2.0, 3.0)) == []
    bright = np.minimum(good, np.percentile(good[2], 99.5))
    assert any("saturated" in note for note in inspect([bright], (1.0, 2.0, 3.0)))
    assert any("brightness does not grow" in note for note in inspect([good[::-1]], (1.0, 2.0, 3.0)))
    dead = good.copy()
    dead[:, 40, 40] = 0
    assert any("fixed pattern" in note for note in inspect([dead], (1.0, 2.0, 3.0)))


def test_file_names_are_read_by_the_pattern(tmp_path):
    for name in ("a_1.tif", "a_2.5.tif", "b_inf.tif", "other.tif"):
        (tmp_path / name).touch()
    found = find_files(str(tmp_path / "{fov}_{pinhole}.tif"))
    assert [(entry.fov, entry.pinhole) for entry in found] == [("a", 1.0), ("a", 2.5), ("b", math.inf)]


@pytest.mark.skipif(not KIDNEY.exists(), reason="../shared/data/pinhole_series/kidney.tif is absent")
def test_the_kidney_series():
    series = read(
        KIDNEY, pinholes=(1.5, 2.0, 3.0, 4.0, 5.0, 6.0, math.inf), pinhole_unit="px", clean=2.0, register=True
    )
    assert series.pinholes == (2.0, 3.0, 4.0, 5.0, 6.0, math.inf)
    assert series.regions_of_one_field
    assert len(series.names("test")) >= 8
    assert any("brightness does not grow" in note for note in series.notes)


def test_the_metadatas_unit_is_taken_where_the_yaml_has_none(tmp_path):
    for index in range(3):
        ome(tmp_path / f"{index}.ome.tif", levels(index), [10.0, 20.0, 30.0])
    series = read(tmp_path / "*.tif", pinholes=(10.0, 20.0, 30.0), pinhole_unit=None)
    assert series.pinhole_unit == "um"
    assert any("taken as um, the unit of the metadata" in note for note in series.notes)
    assert not any("followed" in note for note in series.notes)


def test_another_unit_in_the_metadata_is_said(tmp_path):
    for index in range(3):
        ome(tmp_path / f"{index}.ome.tif", levels(index), [10.0, 20.0, 30.0])
    series = read(tmp_path / "*.tif", pinholes=(1.0, 2.0, 3.0))
    assert series.pinhole_unit == "au"
    assert any("[10, 20, 30] um, the YAML [1, 2, 3] au; the YAML is followed" in note for note in series.notes)


def test_another_number_of_pinholes_in_the_metadata_is_said(tmp_path):
    for index in range(3):
        path = tmp_path / f"{index}.ome.tif"
        ome(path, levels(index), [1.0, 2.0, 3.0])
        fourth = '<Channel ID="Channel:0:3" PinholeSize="4" PinholeSizeUnit="µm"/>'
        tifffile.tiffcomment(path, tifffile.tiffcomment(path).replace("<TiffData", f"{fourth}<TiffData", 1).encode())
    series = read(tmp_path / "*.tif", pinholes=(1.0, 2.0, 3.0), pinhole_unit="um", axes="CYX")
    assert any("[1, 2, 3, 4] um, the YAML [1, 2, 3] um" in note for note in series.notes)


def test_constant_tiles_are_left_out_of_evaluation_and_that_is_said(tmp_path):
    stack = levels(0, size=(560, 260))
    stack[0, 360:, :130] = 100  # the left half of validation and test in the clean frame
    write(tmp_path / "a.tif", stack)
    settings = {"pinholes": (1.0, 2.0, 3.0), "guard_px": 16, "split": Fractions(0.5, 0.25, 0.25)}
    series = read(tmp_path / "a.tif", **settings)
    assert len(series.names("test")) == 4
    assert any("Left out of the test split, constant in the clean frame: 4 of 8" in note for note in series.notes)
    stack[0, 360:] = 100
    write(tmp_path / "a.tif", stack)
    refuse("test split must hold an image whose clean frame varies, but all", tmp_path / "a.tif", **settings)
