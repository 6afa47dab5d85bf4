"""`restore` refuses in one sentence what it cannot do, or what would mislead, and leaves no file behind."""

import json

import pytest
from restorable import NAME, SEED, frames_of, restore, write

from dehazing.data.archive import load_series
from dehazing.pipeline.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def series(restorable):
    return load_series(Store(restorable).folder("series/tiny"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--model", "unett"], "has no `unett`; the nearest is `unet`"),
        (["--model", "unet", "--level", "3"], "`1 <= --level <= 2` must hold"),
        (["--model", "unet", "--level", "0"], "`1 <= --level <= 2` must hold"),
        (["--model", "unet", "--level", "1", "--pinhole", "4"], "--level and --pinhole say the same"),
        (["--model", "unet", "--pinhole", "wide"], "--pinhole must be a number in au or `open`, but is 'wide'"),
        (["--model", "unet", "--pinhole", "1"], "is level 0 (1 au), the clean one: there is nothing to restore"),
        (["--model", "unet", "--pinhole", "50"], "one of those trained on, 1, 4, 20 au"),
        (["--model", "unet", "--spread"], "--spread needs hdn"),
        (["--model", "unet", "--experiment", "tiny-smok"], "holds nothing trained of the experiment tiny-smok"),
        (["--model", "unet", "--device", "abacus"], "--device must be cpu, cuda or cuda:NUMBER"),
        (["--model", "unet", "--axes", "ZYX"], "--axes must name the 2 dimensions of a.ome.tif"),
        (["--model", "unet", "--dtype", "int8"], "nvalid choice: 'int8'"),
        ([], "he following arguments are required: --model"),
    ],
)
def test_a_mistake_gets_one_sentence(words, sentence, restorable, series, tmp_path, capsys):
    path = write(tmp_path / "a.ome.tif", frames_of(series, 2)[0])
    assert restore(restorable, tmp_path / "out", path, *words) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1, said
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda frame: (frame * 30, 0.1), "unlike the training frames of every level: its intensities lie far outside"),
        (lambda frame: (frame, 0.3), "its pixels are 0.3 µm wide, and those of the training series 0.1 µm"),
    ],
)
def test_what_is_unlike_the_training_is_refused_unless_forced(change, sentence, restorable, series, tmp_path, capsys):
    frame, pixel_size_um = change(frames_of(series, 2)[0])
    path = write(tmp_path / "a.ome.tif", frame, PhysicalSizeX=pixel_size_um)
    assert restore(restorable, tmp_path / "out", path, "--model", "unet") == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1 and "--force" in said, said
    assert restore(restorable, tmp_path / "out", path, "--model", "unet", "--level", 2, "--force") == 0
    assert "note: a lies far outside what the model saw" in capsys.readouterr().out


def test_intensities_are_checked_at_a_given_level_too(restorable, series, tmp_path, capsys):
    path = write(tmp_path / "a.ome.tif", frames_of(series, 2)[0] / 256)  # as eight bits of sixteen
    assert restore(restorable, tmp_path / "out", path, "--model", "unet", "--level", 2) == 2
    said = capsys.readouterr().err
    assert "its standard deviation is" in said and "--normalise own allows for another gain" in said
    assert restore(restorable, tmp_path / "out", path, "--model", "unet", "--level", 2, "--normalise", "own") == 0


def test_a_clean_image_is_not_restored(restorable, series, tmp_path, capsys):
    path = write(tmp_path / "a.ome.tif", frames_of(series, 0)[0])
    assert restore(restorable, tmp_path / "out", path, "--model", "unet") == 2
    assert "is level 0 (1 au), the clean one: there is nothing to restore" in capsys.readouterr().err


def test_nothing_is_written_over(restorable, series, tmp_path, capsys):
    path = write(tmp_path / "a.ome.tif", frames_of(series, 2)[0])
    words = [path, "--model", "unet", "--level", 2]
    before = path.read_bytes()
    assert restore(restorable, tmp_path, *words, "--force") == 2
    assert "--out must be another folder" in capsys.readouterr().err and path.read_bytes() == before
    assert restore(restorable, tmp_path / "out", *words) == 0
    assert restore(restorable, tmp_path / "out", *words) == 2
    assert "exists already; --force writes over it" in capsys.readouterr().err
    assert restore(restorable, tmp_path / "out", *words, "--force") == 0
    assert restore(restorable, tmp_path / "new", path, *words) == 2
    assert "must have names of their own" in capsys.readouterr().err


def test_a_network_that_is_gone_is_named(restorable, series, tmp_path, capsys):
    path = write(tmp_path / "a.ome.tif", frames_of(series, 2)[0])
    confirmation = json.loads((restorable / NAME / "confirm.json").read_text())
    other = restorable / "other-smoke"
    other.mkdir()
    confirmation["stages"]["unet"] = {str(SEED): "unet/0000000000000000"}
    (other / "confirm.json").write_text(json.dumps(confirmation))
    try:
        words = ["--model", "unet", "--level", "2", "--experiment", "other-smoke"]
        assert restore(restorable, tmp_path / "out", path, *words) == 2
        said = capsys.readouterr().err
        assert "builds on unet/0000000000000000, which must be in" in said and "makes it again" in said
        assert restore(restorable, tmp_path / "out", path, "--model", "unet", "--level", "2") == 2
        assert "holds no" in capsys.readouterr().err, "two experiments, and none was named"
    finally:
        (other / "confirm.json").unlink()
        other.rmdir()
