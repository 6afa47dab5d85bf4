"""`restore` on networks trained for a moment: as the confirmation's pictures show, or refused in a sentence.

The experiment is of real stages in a real store; only its confirm.json is written here, as the end of a run writes it.
"""

import json

import numpy as np
import pytest
import tifffile
import torch
from safetensors.numpy import load_file

from dehazing.data.archive import load_series, load_training, save_series
from dehazing.data.simulator import NumFields, SimulatedConfig, simulate
from dehazing.data.vendor import read_file
from dehazing.models import hdn
from dehazing.pipeline.execute import execute
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store
from dehazing.stages import weights
from dehazing.stages.applied import Loop, OneShot, Posterior, Tiles
from dehazing.stages.configuration import Configuration
from dehazing.strict import from_mapping
from studies.__main__ import main

pytestmark = pytest.mark.slow

NAME, SEED = "tiny-smoke", 7
BRIEF = {"num_epochs": 1, "steps_per_epoch": 4, "batch_size": 2, "patch_px": 32}
LADDER = {"latent_channels": [2, 2, 2], "width": 8}
OPERATOR = {**BRIEF, "width": 8, "discriminator_width": 8}
STAGES = {
    "unet": ("unet", {**BRIEF, "base": 4, "depth": 2}),
    "nafnet": ("nafnet", {**BRIEF, "width": 4, "depth": 2}),
    "hdn": ("hdn", {**BRIEF, **LADDER, "num_samples": 3}),
    "hvae": ("hvae", {**BRIEF, **LADDER}),
    "restorer": ("restorer", {**BRIEF, "width": 8}),
    "restorer_pixels": ("restorer", {**BRIEF, "width": 8, "domain": "pixels"}),
    "degrader": ("degrader", OPERATOR),
    "anchored": ("degrader", {**OPERATOR, "anchor": "z_T", "shared": True}),
    "pixels": ("degrader", {**OPERATOR, "domain": "pixels"}),
}
UPSTREAMS = {
    "restorer": ["hvae"],
    "degrader": ["hvae", "restorer"],
    "anchored": ["hvae", "restorer"],
    "pixels": ["restorer_pixels"],
}
LOOPS = [
    {"variant": "direct"},
    {"variant": "combine_z0", "reference": "previous", "name": "combine_z0_previous"},
    {"variant": "combine_z0", "reference": "first", "name": "combine_z0_first"},
    {"variant": "refine_both", "name": "refine_both_anchored", "degrader": "anchored"},
    {"variant": "residual", "name": "residual_anchored", "degrader": "anchored", "match": "moments_of_field"},
    {"variant": "bridge"},
    {"variant": "direct", "name": "direct_pixels", "degrader": "pixels", "domain": "pixels"},
]
MODELS = ["unet", "nafnet", "hdn", *(one.get("name", one["variant"]) for one in LOOPS)]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """A results folder with a confirmed experiment: T = 2, 64 px, six training fields."""
    root = tmp_path_factory.mktemp("results")
    config = SimulatedConfig(
        num_fields=NumFields(6, 2, 2), pinholes_au=(1, 4, 20), field_px=64, depth_um=2.0, pad_px=16
    )
    aside = tmp_path_factory.mktemp("series")
    save_series(simulate(config, progress=False), aside)
    store = Store(root)
    store.publish("series/tiny", {path.name: path for path in aside.iterdir()})
    made = {}
    for name, (kind, settings) in STAGES.items():
        execution = Execution(kind, settings, "tiny", SEED, {role: made[role] for role in UPSTREAMS.get(name, [])})
        execute(execution, store)
        made[name] = execution.address
    loop = Execution("iterative", {"configurations": LOOPS, "split": "test", "full": True}, "tiny", SEED, made)
    execute(loop, store)
    confirmation = {
        "experiment": NAME,
        "dataset": "tiny",
        "seeds": [SEED, SEED + 1],
        "iterative": {str(SEED): loop.address},
        "stages": {name: {str(SEED): address} for name, address in made.items()},
        "loops": LOOPS,
    }
    (root / NAME).mkdir()
    (root / NAME / "confirm.json").write_text(json.dumps(confirmation))
    return root


@pytest.fixture(scope="module")
def series(experiment):
    return load_series(Store(experiment).folder("series/tiny"))


@pytest.fixture(scope="module")
def examples(experiment):
    """What the confirmation's pictures show of the first test fields, (N, Y, X), normalised as level 0."""
    address = json.loads((experiment / NAME / "confirm.json").read_text())["iterative"][str(SEED)]
    return load_file(Store(experiment).folder(address) / "examples.safetensors")


def frames_of(series, level):
    """Of the test split, (Y, X) each."""
    return [field.frames[level] for field in series.fields if field.split == "test"]


def write(path, frames, axes="YX", **said):
    metadata = {"axes": axes, "PhysicalSizeX": 0.1, **said}
    tifffile.imwrite(path, np.asarray(frames), photometric="minisblack", metadata=metadata, ome=True)
    return path


def restore(experiment, out, *words):
    return main(["restore", "--storage", str(experiment), "--out", str(out), *map(str, words)])


@pytest.mark.parametrize("model", MODELS)
def test_every_model_restores_as_the_confirmations_pictures_show(model, experiment, series, examples, tmp_path):
    path = write(tmp_path / "a.ome.tif", frames_of(series, 2)[0].astype(np.uint16))
    assert restore(experiment, tmp_path / "out", path, "--model", model, "--level", 2) == 0
    image = read_file(tmp_path / "out" / "a.ome.tif")
    assert image.axes == "YX" and image.values.dtype == np.float32
    expected = examples[model][0] * series.scale[0] + series.offset[0]
    assert np.abs(image.values - expected).max() < 1e-5 * np.ptp(expected)


@pytest.mark.parametrize("model", ["unet", "nafnet", "hdn", *MODELS[3:]])
def test_a_model_gives_tile_by_tile_what_it_gives_the_whole(model, experiment, series):
    confirmation = json.loads((experiment / NAME / "confirm.json").read_text())
    store = Store(experiment)
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


def test_a_stack_is_restored_plane_by_plane_at_the_level_of_each_channel(experiment, series, tmp_path, capsys):
    hazy, hazier = (np.stack([frame[:51, :37] for frame in frames_of(series, t)]) for t in (1, 2))
    values = np.stack([hazy, hazier], 1)[None].repeat(2, 0).astype(np.uint16)  # TZCYX
    channels = {"Name": ["pinhole 4 au", "pinhole 20 au"]}
    path = write(tmp_path / "stack.ome.tif", values, "TZCYX", Channel=channels)
    assert restore(experiment, tmp_path / "out", path, "--model", "unet") == 0
    said = capsys.readouterr().out
    assert "stack, channel 0: level 1 (4 au), nearest to the pinhole of 4 au that the file states" in said
    assert "stack, channel 1: level 2 (20 au), nearest to the pinhole of 20 au that the file states" in said
    image = read_file(tmp_path / "out" / "stack.ome.tif")
    assert image.axes == "TZCYX" and image.values.shape == values.shape
    for z, c in ((0, 0), (1, 1)):
        single = write(tmp_path / f"{z}{c}.ome.tif", values[0, z, c])
        assert restore(experiment, tmp_path / "out", single, "--model", "unet", "--pinhole", (4, 20)[c]) == 0
        alone = read_file(tmp_path / "out" / f"{z}{c}.ome.tif").values
        np.testing.assert_allclose(image.values[1, z, c], alone, rtol=1e-5)


def test_the_spread_is_that_of_the_samples(experiment, series, tmp_path):
    frame = frames_of(series, 2)[0].astype(np.uint16)
    path = write(tmp_path / "a.ome.tif", frame)
    assert restore(experiment, tmp_path / "out", path, "--model", "hdn", "--level", 2, "--spread") == 0
    image = read_file(tmp_path / "out" / "a.ome.tif")
    assert image.axes == "CYX" and image.values.shape == (2, 64, 64)
    folder = Store(experiment).folder(
        json.loads((experiment / NAME / "confirm.json").read_text())["stages"]["hdn"][str(SEED)]
    )
    x = torch.from_numpy((frame.astype(np.float32) - series.offset[2]) / np.float32(series.scale[2]))[
        None, None
    ].float()
    with torch.no_grad():
        drawn = hdn.sample(weights.load(folder), x, 3, torch.Generator().manual_seed(SEED))[:, 0, 0].numpy()
    np.testing.assert_allclose(image.values[0], drawn.mean(0) * series.scale[0] + series.offset[0], rtol=1e-3)
    np.testing.assert_allclose(image.values[1], drawn.std(0, ddof=1) * series.scale[0], rtol=1e-2, atol=1e-3)


def test_the_images_own_type_and_another_gain_are_undone(experiment, series, tmp_path):
    frame = frames_of(series, 2)[0]
    paths = [write(tmp_path / "a.ome.tif", frame), write(tmp_path / "b.ome.tif", (30 * frame + 500).astype(np.float32))]
    words = ["--model", "unet", "--level", 2, "--normalise", "own"]
    assert restore(experiment, tmp_path / "out", *paths, *words) == 0
    one, other = (read_file(tmp_path / "out" / path.name).values for path in paths)
    np.testing.assert_allclose(other, 30 * one + 500, rtol=1e-4)
    counts = write(tmp_path / "c.ome.tif", frame.astype(np.uint16))
    assert restore(experiment, tmp_path / "out", counts, "--model", "unet", "--level", 2, "--dtype", "input") == 0
    assert restore(experiment, tmp_path / "float", counts, "--model", "unet", "--level", 2) == 0
    rounded, exact = (read_file(tmp_path / folder / "c.ome.tif").values for folder in ("out", "float"))
    assert rounded.dtype == np.uint16
    np.testing.assert_array_equal(rounded, np.rint(exact).clip(0))


def test_the_level_is_estimated_and_how_sure_is_said(experiment, series, tmp_path, capsys):
    named = []
    for number, frame in enumerate(frames_of(series, 2)):
        path = write(tmp_path / f"{number}.ome.tif", frame)
        assert restore(experiment, tmp_path / "out", path, "--model", "unet") == 0
        said = capsys.readouterr().out
        assert "% sure" in said and "of training tiles that were left out" in said
        named.append("estimated, " in said)
    assert all(named)


@pytest.mark.xfail(strict=True, reason="of four small training fields, one of two held-out frames gets another level")
def test_every_held_out_frame_is_given_its_level(experiment, series, tmp_path, capsys):
    named = []
    for number, frame in enumerate(frames_of(series, 2)):
        path = write(tmp_path / f"{number}.ome.tif", frame)
        assert restore(experiment, tmp_path / "out", path, "--model", "unet") == 0
        named.append("level 2 (20 au), estimated" in capsys.readouterr().out)
    assert all(named)


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
def test_a_mistake_gets_one_sentence(words, sentence, experiment, series, tmp_path, capsys):
    path = write(tmp_path / "a.ome.tif", frames_of(series, 2)[0])
    assert restore(experiment, tmp_path / "out", path, *words) == 2
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
def test_what_is_unlike_the_training_is_refused_unless_forced(change, sentence, experiment, series, tmp_path, capsys):
    frame, pixel_size_um = change(frames_of(series, 2)[0])
    path = write(tmp_path / "a.ome.tif", frame, PhysicalSizeX=pixel_size_um)
    assert restore(experiment, tmp_path / "out", path, "--model", "unet") == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1 and "--force" in said, said
    assert restore(experiment, tmp_path / "out", path, "--model", "unet", "--level", 2, "--force") == 0
    assert "note: a lies far outside what the model saw" in capsys.readouterr().out


def test_intensities_are_checked_at_a_given_level_too(experiment, series, tmp_path, capsys):
    path = write(tmp_path / "a.ome.tif", frames_of(series, 2)[0] / 256)  # as eight bits of sixteen
    assert restore(experiment, tmp_path / "out", path, "--model", "unet", "--level", 2) == 2
    said = capsys.readouterr().err
    assert "its standard deviation is" in said and "--normalise own allows for another gain" in said
    assert restore(experiment, tmp_path / "out", path, "--model", "unet", "--level", 2, "--normalise", "own") == 0


def test_a_clean_image_is_not_restored(experiment, series, tmp_path, capsys):
    path = write(tmp_path / "a.ome.tif", frames_of(series, 0)[0])
    assert restore(experiment, tmp_path / "out", path, "--model", "unet") == 2
    assert "is level 0 (1 au), the clean one: there is nothing to restore" in capsys.readouterr().err


def test_nothing_is_written_over(experiment, series, tmp_path, capsys):
    path = write(tmp_path / "a.ome.tif", frames_of(series, 2)[0])
    words = [path, "--model", "unet", "--level", 2]
    before = path.read_bytes()
    assert restore(experiment, tmp_path, *words, "--force") == 2
    assert "--out must be another folder" in capsys.readouterr().err and path.read_bytes() == before
    assert restore(experiment, tmp_path / "out", *words) == 0
    assert restore(experiment, tmp_path / "out", *words) == 2
    assert "exists already; --force writes over it" in capsys.readouterr().err
    assert restore(experiment, tmp_path / "out", *words, "--force") == 0
    assert restore(experiment, tmp_path / "new", path, *words) == 2
    assert "must have names of their own" in capsys.readouterr().err


def test_a_network_that_is_gone_is_named(experiment, series, tmp_path, capsys):
    path = write(tmp_path / "a.ome.tif", frames_of(series, 2)[0])
    confirmation = json.loads((experiment / NAME / "confirm.json").read_text())
    other = experiment / "other-smoke"
    other.mkdir()
    confirmation["stages"]["unet"] = {str(SEED): "unet/0000000000000000"}
    (other / "confirm.json").write_text(json.dumps(confirmation))
    try:
        words = ["--model", "unet", "--level", "2", "--experiment", "other-smoke"]
        assert restore(experiment, tmp_path / "out", path, *words) == 2
        said = capsys.readouterr().err
        assert "builds on unet/0000000000000000, which must be in" in said and "makes it again" in said
        assert restore(experiment, tmp_path / "out", path, "--model", "unet", "--level", "2") == 2
        assert "holds no" in capsys.readouterr().err, "two experiments, and none was named"
    finally:
        (other / "confirm.json").unlink()
        other.rmdir()


def test_some_training_fields_are_the_first_of_the_series(experiment, series):
    part = load_training(Store(experiment).folder("series/tiny"), 2)
    assert [field.name for field in part.fields] == series.names("train")[:2]
    assert (part.offset, part.scale, part.pinholes) == (series.offset, series.scale, series.pinholes)
    np.testing.assert_array_equal(part.x("train"), series.x("train")[:2])
