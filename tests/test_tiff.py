"""Every TIFF is read whole or refused with one sentence that names it."""

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from dehazing.data.tiff import read_tiff

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "loaders"
IMAGE = np.random.default_rng(0).integers(0, 4000, (3, 80, 96)).astype(np.uint16)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"compression": "lzw"},
        {"tile": (32, 32)},
        {"bigtiff": True},
        {"byteorder": ">"},
        {"imagej": True, "metadata": {"axes": "CYX"}},
        {"ome": True, "metadata": {"axes": "CYX"}},
    ],
)
def test_reads_the_formats_that_microscopes_write(tmp_path, options):
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, photometric="minisblack", **options)
    np.testing.assert_array_equal(read_tiff(tmp_path / "a.tif").values, IMAGE)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.float32, np.float64])
def test_reads_whole_and_real_numbers(tmp_path, dtype):
    image = (IMAGE % 200).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="minisblack")
    np.testing.assert_array_equal(read_tiff(tmp_path / "a.tif").values, image)


def _refused(path: Path, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as refusal:
        read_tiff(path)
    assert path.name in str(refusal.value)
    assert "\n" not in str(refusal.value)


def _header(width: int, height: int, bits: int, compression: int) -> bytes:
    """A TIFF of one strip that claims any size."""
    tags = [(256, width), (257, height), (258, bits), (259, compression), (262, 1), (273, 8), (277, 1)]
    tags += [(278, height), (279, 100)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return struct.pack("<2sHI", b"II", 42, 108) + bytes(100) + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_an_absurd_claim_is_refused_before_anything_is_allocated(tmp_path):
    path = tmp_path / "huge.tif"
    path.write_bytes(_header(400_000, 400_000, 16, 1))
    _refused(path, "more than the maximum of 8 GiB")
    path.write_bytes(_header(20_000, 20_000, 16, 8))
    _refused(path, "which [0-9]+ bytes cannot hold")
    path.write_bytes(_header(2_000, 2_000, 16, 1))
    _refused(path, "truncated|damaged")


def test_truncated(tmp_path):
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, IMAGE, photometric="minisblack")
    path.write_bytes(path.read_bytes()[:20_000])
    _refused(path, "truncated")


def test_truncated_compressed(tmp_path):
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, IMAGE, photometric="minisblack", compression="zlib")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    _refused(path, "truncated|damaged|holds no image|must hold one image")


def test_empty_absent_and_other_files(tmp_path):
    (tmp_path / "empty.tif").write_bytes(b"")
    _refused(tmp_path / "empty.tif", "is empty")
    (tmp_path / "text.tif").write_text("no image")
    _refused(tmp_path / "text.tif", "is not a TIFF")
    _refused(tmp_path / "absent.tif", "does not exist")
    (tmp_path / "folder.tif").mkdir()
    _refused(tmp_path / "folder.tif", "is not a file")


def test_rgb(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", IMAGE[..., :3].astype(np.uint8), photometric="rgb")
    _refused(tmp_path / "a.tif", "must be grey, but is RGB")


def test_nan_and_constant(tmp_path):
    bad = IMAGE.astype(np.float32)
    bad[1, 2, 3] = np.nan
    tifffile.imwrite(tmp_path / "nan.tif", bad, photometric="minisblack")
    _refused(tmp_path / "nan.tif", "NaN or infinity")
    tifffile.imwrite(tmp_path / "flat.tif", np.full((2, 70, 70), 7, np.uint8), photometric="minisblack")
    _refused(tmp_path / "flat.tif", "is constant: every pixel is 7")


def test_pages_of_different_shapes(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(IMAGE[0], photometric="minisblack")
        tif.write(IMAGE[0, :40], photometric="minisblack")
    _refused(tmp_path / "a.tif", "one shape")


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data/loaders is absent")
def test_every_odd_and_broken_file_is_read_or_refused():
    outcomes = []
    for path in sorted(p for p in SHARED.rglob("*") if p.is_file()):
        try:
            values = read_tiff(path).values
        except ValueError as error:
            assert path.name in str(error) and "\n" not in str(error)
            outcomes.append(False)
        else:
            assert np.isfinite(values).all()
            outcomes.append(True)
    assert sum(outcomes) >= 10 and outcomes.count(False) >= 10


def test_random_damage_never_escapes_as_anything_but_a_sentence(tmp_path):
    rng = np.random.default_rng(1)
    tifffile.imwrite(tmp_path / "a.tif", IMAGE[:2, :70, :70], photometric="minisblack", compression="zlib")
    whole = (tmp_path / "a.tif").read_bytes()
    path = tmp_path / "b.tif"
    for _ in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(4, 600, 4):
            damaged[place] = int(rng.integers(256))
        path.write_bytes(bytes(damaged))
        try:
            read_tiff(path)
        except ValueError as error:
            assert path.name in str(error)


def test_zero_as_white_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", IMAGE, photometric="miniswhite")
    _refused(tmp_path / "a.tif", "states that 0 is white")


def test_no_other_file_is_read_with_it(tmp_path):
    """OME-XML may name any file as the place of its pages."""
    planes = "".join(
        f'<TiffData IFD="0" FirstC="{c}" PlaneCount="1"><UUID FileName="{name}.ome.tif">urn:{name}</UUID></TiffData>'
        for c, name in enumerate("ab")
    )
    shape = 'SizeX="96" SizeY="80" SizeC="2" SizeZ="1" SizeT="1"'
    pixels = f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" {shape}>'
    schema = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    for index, name in enumerate("ab"):
        ome = f'<OME xmlns="{schema}" UUID="urn:{name}"><Image ID="Image:0">{pixels}{planes}</Pixels></Image></OME>'
        options = {"description": ome, "metadata": None}
        tifffile.imwrite(tmp_path / f"{name}.ome.tif", IMAGE[index], photometric="minisblack", **options)
    assert tifffile.imread(tmp_path / "a.ome.tif").shape == (2, 80, 96), "the other file is found by others"
    np.testing.assert_array_equal(np.squeeze(read_tiff(tmp_path / "a.ome.tif").values), IMAGE[0])


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_a_truncated_file_is_said_to_be_so_and_no_exception_is_named(tmp_path, compression):
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, IMAGE, photometric="minisblack", compression=compression)
    whole = path.read_bytes()
    for share in (0.02, 0.3, 0.6, 0.95):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match="damaged or truncated") as refusal:
            read_tiff(path)
        assert "Error" not in str(refusal.value) and "tifffile" not in str(refusal.value)
