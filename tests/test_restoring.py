"""`restore` gives what the confirmation's pictures show, whatever the image's size, axes, type and gain."""

import json

import numpy as np
import pytest
import torch
from restorable import LOOPS, MODELS, NAME, SEED, frames_of, restore, write
from safetensors.numpy import load_file

from dehazing.data.archive import load_series, load_training
from dehazing.data.vendor import read_file
from dehazing.models import hdn
from dehazing.pipeline.store import Store
from dehazing.stages import weights
from dehazing.stages.applied import Loop, OneShot, Posterior, Tiles
from dehazing.stages.configuration import Configuration
from dehazing.strict import from_mapping

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def series(restorable):
    return load_series(Store(restorable).folder("series/tiny"))


@pytest.fixture(scope="module")
def examples(restorable):
    """What the confirmation's pictures show of the first test fields, (N, Y, X), normalised as level 0."""
    address = json.loads((restorable / NAME / "confirm.json").read_text())["iterative"][str(SEED)]
    return load_file(Store(restorable).folder(address) / "examples.safetensors")


@pytest.mark.parametrize("model", MODELS)
def test_every_model_restores_as_the_confirmations_pictures_show(model, restorable, series, examples, tmp_path):
    path = write(tmp_path / "a.ome.tif", frames_of(series, 2)[0].astype(np.uint16))
    assert restore(restorable, tmp_path / "out", path, "--model", model, "--level", 2) == 0
    image = read_file(tmp_path / "out" / "a.ome.tif")
    assert image.axes == "YX" and image.values.dtype == np.float32
    expected = examples[model][0] * series.scale[0] + series.offset[0]
    assert np.abs(image.values - expected).max() < 1e-5 * np.ptp(expected)


@pytest.mark.parametrize("model", ["unet", "nafnet", "hdn", *MODELS[3:]])
def test_a_model_gives_tile_by_tile_what_it_gives_the_whole(model, restorable, series):
    confirmation = json.loads((restorable / NAME / "confirm.json").read_text())
    store = Store(restorable)
    folders = {name: store.folder(found[str(SEED)]) for name, found in confirmation["stages"].items()}
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(1, 1, 150, 201)).astype(np.float32)).cumsum(2).div(5)
    images, told = [], []
    for tiles in (Tiles(tile_px=32, on_tile=lambda: told.append(1)), Tiles(tile_px=1024)):
        if model == "hdn":
            network = Posterior(folders["hdn"], tiles)
        elif model in ("unet", "nafnet"):
            network = OneShot(folders[model], tiles)
        else:
            chosen = next(one for one in LOOPS if one.get("name", one["variant"]) == model)
            x_train = torch.from_numpy(series.x("train"))
            network = Loop(from_mapping(Configuration, chosen, model), folders, x_train, tiles)
        restored = [network(x, t, 3, spread=model == "hdn") for t in (2, 1)]
        images.append([part for one in restored for part in one if part is not None])
    for tiled, whole in zip(*images, strict=True):
        assert tiled.shape == x.shape and float((tiled - whole).abs().max() / (whole.max() - whole.min())) < 1e-3 / 10
    if model != "hdn":  # which draws several samples of a small image at once
        num_tiles = 5 * 7  # of 32 px in 150 x 201 px; in pixels and in latents alike
        assert len(told) == num_tiles * (network.num_calls(2) + network.num_calls(1))


def test_a_stack_is_restored_plane_by_plane_at_the_level_of_each_channel(restorable, series, tmp_path, capsys):
    hazy, hazier = (np.stack([frame[:51, :37] for frame in frames_of(series, t)]) for t in (1, 2))
    values = np.stack([hazy, hazier], 1)[None].repeat(2, 0).astype(np.uint16)  # TZCYX
    channels = {"Name": ["pinhole 4 au", "pinhole 20 au"]}
    path = write(tmp_path / "stack.ome.tif", values, "TZCYX", Channel=channels)
    assert restore(restorable, tmp_path / "out", path, "--model", "unet") == 0
    said = capsys.readouterr().out
    assert "stack, channel 0: level 1 (4 au), nearest to the pinhole of 4 au that the file states" in said
    assert "stack, channel 1: level 2 (20 au), nearest to the pinhole of 20 au that the file states" in said
    image = read_file(tmp_path / "out" / "stack.ome.tif")
    assert image.axes == "TZCYX" and image.values.shape == values.shape
    for z, c in ((0, 0), (1, 1)):
        single = write(tmp_path / f"{z}{c}.ome.tif", values[0, z, c])
        assert restore(restorable, tmp_path / "out", single, "--model", "unet", "--pinhole", (4, 20)[c]) == 0
        alone = read_file(tmp_path / "out" / f"{z}{c}.ome.tif").values
        np.testing.assert_allclose(image.values[1, z, c], alone, rtol=1e-5)


def test_the_spread_is_that_of_the_samples(restorable, series, tmp_path):
    frame = frames_of(series, 2)[0].astype(np.uint16)
    path = write(tmp_path / "a.ome.tif", frame)
    assert restore(restorable, tmp_path / "out", path, "--model", "hdn", "--level", 2, "--spread") == 0
    image = read_file(tmp_path / "out" / "a.ome.tif")
    assert image.axes == "CYX" and image.values.shape == (2, 64, 64)
    folder = Store(restorable).folder(
        json.loads((restorable / NAME / "confirm.json").read_text())["stages"]["hdn"][str(SEED)]
    )
    x = torch.from_numpy((frame.astype(np.float32) - series.offset[2]) / np.float32(series.scale[2]))[
        None, None
    ].float()
    with torch.no_grad():
        drawn = hdn.sample(weights.load(folder), x, 3, torch.Generator().manual_seed(SEED))[:, 0, 0].numpy()
    np.testing.assert_allclose(image.values[0], drawn.mean(0) * series.scale[0] + series.offset[0], rtol=1e-3)
    np.testing.assert_allclose(image.values[1], drawn.std(0, ddof=1) * series.scale[0], rtol=1e-2, atol=1e-3)


def test_the_images_own_type_and_another_gain_are_undone(restorable, series, tmp_path):
    frame = frames_of(series, 2)[0]
    paths = [write(tmp_path / "a.ome.tif", frame), write(tmp_path / "b.ome.tif", (30 * frame + 500).astype(np.float32))]
    words = ["--model", "unet", "--level", 2, "--normalise", "own"]
    assert restore(restorable, tmp_path / "out", *paths, *words) == 0
    one, other = (read_file(tmp_path / "out" / path.name).values for path in paths)
    np.testing.assert_allclose(other, 30 * one + 500, rtol=1e-4)
    counts = write(tmp_path / "c.ome.tif", frame.astype(np.uint16))
    assert restore(restorable, tmp_path / "out", counts, "--model", "unet", "--level", 2, "--dtype", "input") == 0
    assert restore(restorable, tmp_path / "float", counts, "--model", "unet", "--level", 2) == 0
    rounded, exact = (read_file(tmp_path / folder / "c.ome.tif").values for folder in ("out", "float"))
    assert rounded.dtype == np.uint16
    np.testing.assert_array_equal(rounded, np.rint(exact).clip(0))


def test_the_level_is_estimated_and_how_sure_is_said(restorable, series, tmp_path, capsys):
    named = []
    for number, frame in enumerate(frames_of(series, 2)):
        path = write(tmp_path / f"{number}.ome.tif", frame)
        assert restore(restorable, tmp_path / "out", path, "--model", "unet") == 0
        said = capsys.readouterr().out
        assert "% sure" in said and "of training tiles that were left out" in said
        named.append("estimated, " in said)
    assert all(named)


@pytest.mark.xfail(strict=True, reason="of four small training fields, one of two held-out frames gets another level")
def test_every_held_out_frame_is_given_its_level(restorable, series, tmp_path, capsys):
    named = []
    for number, frame in enumerate(frames_of(series, 2)):
        path = write(tmp_path / f"{number}.ome.tif", frame)
        assert restore(restorable, tmp_path / "out", path, "--model", "unet") == 0
        named.append("level 2 (20 au), estimated" in capsys.readouterr().out)
    assert all(named)


def test_some_training_fields_are_the_first_of_the_series(restorable, series):
    part = load_training(Store(restorable).folder("series/tiny"), 2)
    assert [field.name for field in part.fields] == series.names("train")[:2]
    assert (part.offset, part.scale, part.pinholes) == (series.offset, series.scale, series.pinholes)
    np.testing.assert_array_equal(part.x("train"), series.x("train")[:2])
