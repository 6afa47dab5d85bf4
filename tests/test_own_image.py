"""A user's own image comes back with the axes, the metadata and the numbers that it had, or is asked about."""

import numpy as np
import pytest
import tifffile

from dehazing.data.own_image import read_own
from dehazing.data.restored_file import Writer

HOW = "Restored by unet of the experiment e."
CHANNELS = {"Name": ["GFP", "RFP"], "EmissionWavelength": [525.0, 600.0]}
OME = {"PhysicalSizeX": 0.1, "PhysicalSizeXUnit": "µm", "PhysicalSizeZ": 0.3, "Channel": CHANNELS}


def stack(shape, dtype=np.uint16):
    return np.random.default_rng(0).integers(1, 250, shape).astype(dtype)


def write(path, values, axes, kind):
    if kind == "ome":
        tifffile.imwrite(path, values, photometric="minisblack", ome=True, metadata={"axes": axes, **OME})
    elif kind == "imagej":
        said = {"axes": axes, "unit": "micron", "spacing": 0.3, "Info": "taken on Monday", "finterval": 2.5}
        tifffile.imwrite(path, values, imagej=True, resolution=(10.0, 10.0), metadata=said)
    else:
        tifffile.imwrite(path, values, photometric="minisblack", metadata={"axes": axes})
    return path


def restored(image, folder, own_type=False, spread=False):
    """Each plane twice as bright, spread a tenth of it."""
    writer = Writer(image, folder, own_type, spread, HOW)
    for index in image.indices():
        plane = image.values[index].astype(np.float32)
        writer.write(index, 2 * plane, *([plane / 10] if spread else []))
    return writer.close()


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.mark.parametrize("kind", ["ome", "imagej", "plain"])
@pytest.mark.parametrize("axes", ["YX", "ZYX", "TZYX", "CYX", "ZCYX", "TZCYX"])
def test_axes_and_pixels_are_kept_in_every_form(kind, axes, tmp_path, out):
    lengths = {"T": 4, "Z": 3, "C": 2, "Y": 33, "X": 47}
    values = stack([lengths[axis] for axis in axes])
    name = "a.ome.tif" if kind == "ome" else "a.tif"
    options = {} if "C" in axes or kind != "ome" else {"Channel": {"Name": "GFP"}}
    if options:
        tifffile.imwrite(tmp_path / name, values, photometric="minisblack", metadata={"axes": axes, **OME, **options})
    else:
        write(tmp_path / name, values, axes, kind)
    (image,) = read_own(tmp_path / name)
    assert (image.axes, image.num_planes, image.form) == (axes, values[..., 0, 0].size, kind)
    path = restored(image, out)
    assert path == out / name and list(out.iterdir()) == [path]
    (again,) = read_own(path)
    assert (again.axes, again.form) == (axes, kind)
    assert again.pixel_size_um == image.pixel_size_um == (None if kind == "plain" else pytest.approx(0.1))
    assert again.values.dtype == np.float32
    np.testing.assert_array_equal(again.values, 2.0 * values)


@pytest.mark.parametrize("axes", ["CZYX", "ZCYX", "TCYX"])
def test_the_spread_is_a_channel_beside_each_of_the_images(axes, tmp_path, out):
    lengths = {"T": 3, "Z": 3, "C": 2, "Y": 20, "X": 30}
    values = stack([lengths[axis] for axis in axes])
    (image,) = read_own(write(tmp_path / "a.ome.tif", values, axes, "ome"))
    path = restored(image, out, spread=True)
    (again,) = read_own(path)
    at = axes.index("C")
    assert again.axes == axes and again.values.shape[at] == 4
    channels, original = np.moveaxis(again.values, at, 0), np.moveaxis(values, at, 0).astype(np.float32)
    np.testing.assert_array_equal(channels[0::2], 2 * original)
    np.testing.assert_array_equal(channels[1::2], original / 10)
    names = [channel["Name"] for channel in tifffile.xml2dict(again.ome)["OME"]["Image"]["Pixels"]["Channel"]]
    assert names == ["GFP", "GFP spread", "RFP", "RFP spread"]


@pytest.mark.parametrize("kind", ["ome", "imagej", "plain"])
def test_an_image_without_channels_gets_one_for_the_spread(kind, tmp_path, out):
    values = stack((3, 20, 30))
    metadata = {"axes": "ZYX"}
    how = {"photometric": "minisblack", "imagej": kind == "imagej", "ome": kind == "ome", "metadata": metadata}
    tifffile.imwrite(tmp_path / "a.tif", values, **how)
    (image,) = read_own(tmp_path / "a.tif")
    (again,) = read_own(restored(image, out, spread=True))
    assert again.axes == "ZCYX"
    np.testing.assert_array_equal(again.values[:, 0], 2.0 * values)
    np.testing.assert_array_equal(again.values[:, 1], values.astype(np.float32) / 10)


def test_what_the_metadata_say_is_kept(tmp_path, out):
    values = stack((3, 2, 20, 30))
    (image,) = read_own(write(tmp_path / "a.ome.tif", values, "ZCYX", "ome"))
    with tifffile.TiffFile(restored(image, out)) as tif:
        said = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]
    pixels = said["Pixels"]
    assert said["Description"] == HOW and pixels["Type"] == "float"
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeZ"]) == (0.1, 0.3)
    assert [channel["Name"] for channel in pixels["Channel"]] == ["GFP", "RFP"]
    assert [channel["EmissionWavelength"] for channel in pixels["Channel"]] == [525.0, 600.0]
    (image,) = read_own(write(tmp_path / "j.tif", values, "ZCYX", "imagej"))
    with tifffile.TiffFile(restored(image, out)) as tif:
        said = tif.imagej_metadata
        assert tif.pages.first.resolution == (10.0, 10.0)
    assert (said["unit"], said["spacing"], said["finterval"]) == ("micron", 0.3, 2.5)
    assert said["Info"] == f"taken on Monday\n{HOW}"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
def test_the_images_own_type_is_rounded_and_cut_off_at_its_ends(dtype, tmp_path, out):
    values = stack((2, 20, 30), dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values, photometric="minisblack", metadata={"axes": "ZYX"})
    (image,) = read_own(path)
    writer = Writer(image, out, True, False, HOW)
    wanted = image.values.astype(np.float32) * 1.5 - 20.25
    for index in image.indices():
        writer.write(index, wanted[index])
    (again,) = read_own(writer.close())
    assert again.values.dtype == dtype
    if np.issubdtype(dtype, np.floating):
        np.testing.assert_array_equal(again.values, wanted)
        assert writer.num_cut_off == 0
    else:
        ends = np.iinfo(dtype)
        np.testing.assert_array_equal(again.values, np.rint(wanted).clip(ends.min, ends.max))
        assert writer.num_cut_off == ((np.rint(wanted) < ends.min) | (np.rint(wanted) > ends.max)).sum()


def test_axes_that_are_not_clear_are_asked_for(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", stack((5, 20, 30)), photometric="minisblack", metadata=None)
    with pytest.raises(ValueError, match=r"a.tif must say what its axes are, but .*--axes says it, such as --axes ZYX"):
        read_own(tmp_path / "a.tif")
    (image,) = read_own(tmp_path / "a.tif", "zyx")
    assert image.axes == "ZYX" and image.num_planes == 5
    tifffile.imwrite(tmp_path / "b.tif", stack((20, 30)), photometric="minisblack", metadata=None)
    assert read_own(tmp_path / "b.tif")[0].axes == "YX", "one plane is clear"


@pytest.mark.parametrize(
    ("axes", "text"), [("ZYX", "must name the 4 dimensions"), ("ZZYX", "each once"), ("ZCTX", "Y and X among them")]
)
def test_axes_that_do_not_fit_are_refused(axes, text, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", stack((3, 2, 20, 30)), photometric="minisblack", metadata={})
    with pytest.raises(ValueError, match=text):
        read_own(tmp_path / "a.tif", axes)


def test_axes_given_in_another_order_are_followed(tmp_path, out):
    values = stack((20, 30, 3))
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", metadata={"axes": "YXC"})
    (image,) = read_own(tmp_path / "a.tif", "YXZ")
    assert image.axes == "ZYX"
    np.testing.assert_array_equal(read_own(restored(image, out))[0].values, 2.0 * values.transpose(2, 0, 1))


def test_positions_are_images_of_their_own(tmp_path, out):
    values = stack((2, 3, 20, 30))
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", metadata={"axes": "ZCYX"})
    images = read_own(tmp_path / "a.tif", "PCYX")
    assert [image.name for image in images] == ["a_0", "a_1"] and {image.axes for image in images} == {"CYX"}
    for image, own in zip(images, values, strict=True):
        np.testing.assert_array_equal(read_own(restored(image, out))[0].values, 2.0 * own)


def test_channels_are_told_apart(tmp_path):
    (image,) = read_own(write(tmp_path / "a.tif", stack((3, 2, 20, 30)), "ZCYX", "plain"))
    assert image.num_channels == 2
    assert list(image.indices(channel=1)) == [(0, 1), (1, 1), (2, 1)]


def test_what_is_dropped_leaves_nothing(tmp_path, out):
    (image,) = read_own(write(tmp_path / "a.tif", stack((3, 20, 30)), "ZYX", "plain"))
    writer = Writer(image, out, False, False, HOW)
    assert not writer.path.exists(), "it appears whole"
    writer.drop()
    assert list(out.iterdir()) == []
