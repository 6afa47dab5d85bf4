"""Microscopes' own files are read with their pinholes; what they cannot be read for is said in one sentence."""

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml

from dehazing.data.dataset import make_series, read_dataset
from dehazing.data.ome_metadata import Acquisition, ome_acquisition, ome_pinholes
from dehazing.data.ome_text import joined_ome, written_ome
from dehazing.data.vendor import nd2_metadata, read_file

LOADERS = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "loaders"
CZI = LOADERS / "xyz__multiple_images.czi"

DIMENSION = (
    '<DimensionDescription DimID="{id}" NumberOfElements="{num}" Origin="0" Length="{length}" Unit="m" BitInc="0" '
    'BytesInc="{step}"/>'
)


def write_lif(path, image, airy, pixel_m=1e-7):
    """A file of one YX image of uint16 as LAS X lays it out: XML, then one block of memory."""
    image = image.astype("<u2")
    height, width = image.shape
    dimensions = DIMENSION.format(id=1, num=width, length=pixel_m * (width - 1), step=2)
    dimensions += DIMENSION.format(id=2, num=height, length=pixel_m * (height - 1), step=2 * width)
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="file"><Children><Element Name="field" UniqueID="a"><Data>'
        "<Image><ImageDescription><Channels>"
        '<ChannelDescription DataType="0" ChannelTag="0" Resolution="16" NameOfMeasuredQuantity="" Min="0" Max="65535" '
        'Unit="" LUTName="Green" IsLUTInverted="0" BytesInc="0" BitInc="0"/>'
        f"</Channels><Dimensions>{dimensions}</Dimensions></ImageDescription>"
        f'<Attachment Name="HardwareSetting"><ATLConfocalSettingDefinition PinholeAiry="{airy}" Pinhole="9.5e-05" '
        'NumericalAperture="1.4" EmissionWavelengthForPinholeAiryCalculation="580"/></Attachment></Image></Data>'
        f'<Memory Size="{image.nbytes}" MemoryBlockID="MemBlock_0"/></Element></Children></Element>'
        "</LMSDataContainerHeader>"
    )
    name = "MemBlock_0".encode("utf-16-le")
    content = struct.pack("<IIBI", 0x70, 2 * len(xml) + 5, 0x2A, len(xml)) + xml.encode("utf-16-le")
    content += struct.pack("<IIBQBI", 0x70, len(name) + 14, 0x2A, image.nbytes, 0x2A, len(name) // 2) + name
    path.write_bytes(content + image.tobytes())


def frame(seed=0, size=(80, 96)):
    return np.random.default_rng(seed).integers(100, 4000, size).astype(np.uint16)


@pytest.mark.skipif(not CZI.exists(), reason="../shared/data/loaders is absent")
def test_a_czi_of_two_scenes_says_its_pinhole():
    pytest.importorskip("czifile", reason="the extra `vendor` is not installed")
    image = read_file(CZI)
    assert image.values.shape == (2, 2, 251, 251) and image.axes == "PZYX" and image.stated
    assert image.values.dtype == np.uint16
    sizes, unit = ome_pinholes(image.ome)
    assert unit == "au" and sizes == (pytest.approx(8.70, abs=0.005),)
    own = ome_acquisition(image.ome)
    assert own.pixel_size_um == pytest.approx(0.195644, rel=1e-5)
    assert (own.numerical_aperture, own.emission_nm) == (pytest.approx(1.4), pytest.approx(578.6, abs=0.05))


@pytest.mark.skipif(not CZI.exists(), reason="../shared/data/loaders is absent")
def test_a_damaged_czi_is_refused_in_a_sentence(tmp_path):
    pytest.importorskip("czifile", reason="the extra `vendor` is not installed")
    content = CZI.read_bytes()
    for name, length in (("empty", 0), ("cut", 5000), ("half", len(content) // 2)):
        path = tmp_path / f"{name}.czi"
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=f"{name}.czi is damaged, or of a kind that czifile cannot read"):
            read_file(path)


def test_a_lif_says_its_pinhole_and_pixels(tmp_path):
    pytest.importorskip("liffile", reason="the extra `vendor` is not installed")
    write_lif(tmp_path / "field.lif", frame(), airy=2.5)
    image = read_file(tmp_path / "field.lif")
    assert image.axes == "YX" and image.stated
    np.testing.assert_array_equal(image.values, frame())
    assert ome_pinholes(image.ome) == ((2.5,), "au")
    assert ome_acquisition(image.ome) == Acquisition(pytest.approx(0.1), 1.4, 580.0)


def test_a_series_of_files_takes_each_ones_pinhole_from_its_metadata(tmp_path):
    pytest.importorskip("liffile", reason="the extra `vendor` is not installed")
    clean = frame(size=(96, 240)).astype(float)
    for number, airy in enumerate((4.0, 1.0, 2.0)):
        write_lif(tmp_path / f"{number}.lif", clean * airy, airy)
    (tmp_path / "own.yaml").write_text(
        yaml.safe_dump({"kind": "pinhole_series", "path": "*.lif", "register": False, "guard_px": 0})
    )
    series = make_series(read_dataset(tmp_path / "own.yaml"))
    assert series.pinholes == (1.0, 2.0, 4.0) and series.pinhole_unit == "au"
    assert series.pixel_size_um == pytest.approx(0.1)
    frames = series.fields[0].frames
    np.testing.assert_allclose(frames.mean((1, 2)) / frames[0].mean(), [1, 2, 4], rtol=1e-6)


def test_an_nd2s_metadata_say_the_pinhole_in_micrometres():
    structures = pytest.importorskip("nd2.structures", reason="the extra `vendor` is not installed")
    volume = structures.Volume(
        axesCalibrated=(True, True, True),
        axesCalibration=(0.2, 0.2, 0.5),
        axesInterpretation=("distance", "distance", "distance"),
        bitsPerComponentInMemory=16,
        bitsPerComponentSignificant=12,
        cameraTransformationMatrix=(1.0, 0.0, 0.0, 1.0),
        componentCount=1,
        componentDataType="unsigned",
        voxelCount=(64, 64, 1),
    )
    channels = [
        structures.Channel(
            channel=structures.ChannelMeta("GFP", index, structures.Color(0, 255, 0), emissionLambdaNm=525.0),
            loops=None,
            microscope=structures.Microscope(objectiveNumericalAperture=0.8, pinholeDiameterUm=size),
            volume=volume,
        )
        for index, size in enumerate((30.0, 60.0))
    ]
    ome = nd2_metadata(structures.Metadata(channels=channels))
    assert ome_pinholes(ome) == ((30.0, 60.0), "um")
    assert ome_acquisition(ome) == Acquisition(0.2, 0.8, 525.0)
    channels[1].microscope.pinholeDiameterUm = -1.0  # what widefield channels say
    assert ome_pinholes(nd2_metadata(structures.Metadata(channels=channels))) is None
    assert ome_pinholes(nd2_metadata(structures.Metadata())) is None


def test_what_is_written_as_ome_is_read_back():
    own = Acquisition(0.065, 1.2, 610.0)
    text = written_ome([(1.0, "au"), (float("inf"), "au")], own)
    assert ome_pinholes(text) == ((1.0, float("inf")), "au") and ome_acquisition(text) == own
    assert ome_pinholes(written_ome([(1.0, "au"), None], own)) is None
    one, other = (written_ome([(size, "um")], own) for size in (30.0, 0.5))
    assert ome_pinholes(joined_ome([one, other])) == ((30.0, 0.5), "um")
    assert joined_ome([one, None]) is None and joined_ome([one, text]) is None


def test_a_missing_reader_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nd2", None)  # as `import` finds what is not installed
    (tmp_path / "a.nd2").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"a.nd2 needs the reader `nd2`, which is not installed: pip install"):
        read_file(tmp_path / "a.nd2")


@pytest.mark.parametrize("name", ["a.czi", "a.lif", "a.nd2"])
def test_what_is_no_such_file_is_refused_in_a_sentence(name, tmp_path):
    library = {"a.czi": "czifile", "a.lif": "liffile", "a.nd2": "nd2"}[name]
    pytest.importorskip(library, reason="the extra `vendor` is not installed")
    (tmp_path / name).write_bytes(b"this is no image" * 9)
    with pytest.raises(ValueError, match=f"{name} is damaged, or of a kind that {library} cannot read"):
        read_file(tmp_path / name)
    with pytest.raises(ValueError, match="does not exist"):
        read_file(tmp_path / f"missing{name}")


def test_everything_else_is_read_as_a_tiff(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", frame(), photometric="minisblack")
    np.testing.assert_array_equal(read_file(tmp_path / "a.tif").values, frame())
