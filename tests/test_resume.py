"""Every kind of stage, small, in the store: interrupted and continued equals undisturbed, to the bit."""

import json
import shutil
from contextlib import closing

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dehazing.data.archive import save_series
from dehazing.data.series import Field, Series
from dehazing.pipeline.execute import execute, executing
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store

pytestmark = pytest.mark.slow

DATASET = "0123456789abcdef"
BRIEF = {"num_epochs": 3, "steps_per_epoch": 3, "batch_size": 2, "patch_px": 32}
LADDER = {"latent_channels": [2, 2, 2], "width": 8}
CONFIGS = {
    "unet": {**BRIEF, "base": 4, "depth": 2},
    "nafnet": {**BRIEF, "width": 4, "depth": 2},
    "hdn": {**BRIEF, **LADDER, "num_samples": 2},
    "hvae": {**BRIEF, **LADDER},
    "restorer": {**BRIEF, "width": 8, "latent_noise": 0.1, "lambda_decoder": 0.1},
    "degrader": {**BRIEF, "width": 8, "discriminator_width": 8, "pool_size": 3, "anchor": "z_T"},
    "iterative": {"configurations": [{"variant": "direct"}, {"variant": "refine_both"}]},
}
UPSTREAMS = {
    "unet": (),
    "nafnet": (),
    "hdn": (),
    "hvae": (),
    "restorer": ("hvae",),
    "degrader": ("hvae", "restorer"),
    "iterative": ("unet", "nafnet", "hdn", "hvae", "restorer", "degrader"),
}


def tiny_series():
    """Blobs, blurred more at every level, T = 2."""
    generator = np.random.default_rng(0)
    sparse = (generator.random((5, 32, 32)) > 0.97).astype(np.float32)
    frequency = np.fft.fftfreq(32)[:, None] ** 2 + np.fft.fftfreq(32)[None] ** 2
    levels = [np.fft.ifft2(np.fft.fft2(sparse) * np.exp(-20 * w * frequency)).real for w in (1, 3, 9)]
    truth = np.stack(levels, 1).astype(np.float32)  # (N, T + 1, Y, X)
    frames = truth + 0.01 * generator.normal(size=truth.shape).astype(np.float32)
    splits = ("train", "train", "train", "validation", "test")
    fields = tuple(Field(f"field {i}", split, frames[i], truth[i]) for i, split in enumerate(splits))
    offset, scale = (tuple(getattr(frames[:3], of)((0, 2, 3)).tolist()) for of in ("mean", "std"))
    return Series(fields, (1.0, 2.0, float("inf")), "au", offset, scale)


def execution(kind):
    upstreams = {role: execution(role).address for role in UPSTREAMS[kind]}
    return Execution(kind, CONFIGS[kind], DATASET, seed=3, upstreams=upstreams)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A store with one of each kind."""
    store = Store(tmp_path_factory.mktemp("undisturbed"))
    folder = tmp_path_factory.mktemp("series")
    save_series(tiny_series(), folder)
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    store.publish(f"series/{DATASET}", files)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for kind in CONFIGS:
        execute(execution(kind), store)
    yield store
    torch.set_num_threads(threads)


def content(store, kind):
    folder = store.folder(execution(kind).address)
    metrics = json.loads((folder / "metrics.json").read_text())
    history = [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in metrics["history"]]
    weights = folder / "weights.safetensors"
    return load_file(weights) if weights.exists() else {}, metrics["final"], history


@pytest.mark.parametrize("kind", [kind for kind in CONFIGS if kind != "iterative"])
def test_interrupted_and_continued_equals_undisturbed(undisturbed, tmp_path, kind):
    store = Store(shutil.copytree(undisturbed.root, tmp_path / "results"))
    shutil.rmtree(store.folder(execution(kind).address))
    for _ in range(2):  # after the first and after the second epoch
        with closing(executing(execution(kind), store)) as epochs:
            next(epochs)
        torch.manual_seed(99)
    execute(execution(kind), store)

    weights, final, history = content(store, kind)
    expected_weights, expected_final, expected_history = content(undisturbed, kind)
    assert all(torch.equal(weights[name], expected_weights[name]) for name in expected_weights)
    assert final == expected_final and history == expected_history


def test_an_evaluation_repeats_itself(undisturbed, tmp_path):
    store = Store(shutil.copytree(undisturbed.root, tmp_path / "results"))
    place = store.folder(execution("iterative").address)
    before = (place / "evaluation.parquet").read_bytes()
    shutil.rmtree(place)
    execute(execution("iterative"), store)
    assert (place / "evaluation.parquet").read_bytes() == before
    assert content(store, "iterative") == content(undisturbed, "iterative")


def test_what_is_in_the_store_is_not_made_again(undisturbed):
    for kind in CONFIGS:
        execute(execution(kind), undisturbed, on_epoch=lambda epoch: pytest.fail("executed again"))


def test_another_weight_of_the_cycle_makes_the_degrader_and_what_follows_alone(undisturbed):
    before = {kind: execution(kind).address for kind in CONFIGS}
    changed = {**CONFIGS["degrader"], "lambda_cyc": 3.0}
    degrader = Execution("degrader", changed, DATASET, 3, execution("degrader").upstreams)
    upstreams = {**execution("iterative").upstreams, "degrader": degrader.address}
    iterative = Execution("iterative", CONFIGS["iterative"], DATASET, 3, upstreams)
    assert degrader.address != before["degrader"] and iterative.address != before["iterative"]
    assert all(undisturbed.has(address) for address in degrader.upstreams.values())
    assert not undisturbed.has(degrader.address) and not undisturbed.has(iterative.address)


def test_a_misspelt_choice_is_refused_before_anything_runs():
    with pytest.raises(ValueError, match="`domain` must be one of latents, pixels, but got 'pixel'"):
        Execution("degrader", {"domain": "pixel"}, DATASET, 3)
