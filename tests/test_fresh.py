"""Fields that are simulated on the device: the same microscope, the same distribution of objects, other draws."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.fft import rfft2

from dehazing.data import fresh, lines
from dehazing.data.archive import load_series, save_series
from dehazing.data.camera import Camera
from dehazing.data.lines import Lines
from dehazing.data.microscope import NumFields, SimulatedConfig, bench
from dehazing.data.simulator import focal_plane_image, simulate
from dehazing.pipeline.stage import Context
from dehazing.stages import stage_module
from dehazing.stages.fresh_images import FreshImages
from dehazing.stages.images import Images

SMALL = SimulatedConfig(
    num_fields=NumFields(3, 1, 1), field_px=32, pad_px=8, dz_um=1.0, depth_um=2.0, pinholes_au=(1.0, 4.0, 20.0)
)


@pytest.fixture(scope="module")
def series():
    return simulate(SMALL, progress=False)


def test_points_are_shared_between_voxels_as_the_other_simulator_does():
    rng, shape = np.random.default_rng(0), (3, 8, 9)
    z, y, x, weight = rng.uniform(-1, 3.5, 200), rng.uniform(-9, 20, 200), rng.uniform(-9, 20, 200), rng.random(200)
    made = fresh.splat(*(torch.from_numpy(one).float() for one in (z, y, x, weight)), shape)
    np.testing.assert_allclose(made.numpy(), lines._splat(z, y, x, weight, shape), atol=1e-5)


def test_the_image_of_an_object_is_the_other_simulators(series):
    transfer, _, _, shape = bench(SMALL)
    volume = np.random.default_rng(0).random(shape, np.float32)
    expected = focal_plane_image(rfft2(volume), transfer, focus=len(volume) // 2)
    made = fresh.FreshFields(series, "cpu")._image(torch.from_numpy(volume))
    np.testing.assert_allclose(made.numpy(), expected, rtol=1e-4, atol=1e-4 * expected.max())


def test_lines_are_as_many_as_bright_and_as_spread_as_the_other_simulators():
    asked, shape = Lines(), (21, 96, 96)
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(1)
    ours = torch.stack([fresh.random_lines(asked, shape, 0.25, 0.1, generator) for _ in range(80)]).double().numpy()
    theirs = np.stack([lines.random_lines(asked, shape, 0.25, 0.1, rng) for _ in range(80)]).astype(float)
    for of in (
        lambda v: v.sum((1, 2, 3)),  # how much of them
        lambda v: (v**2).sum((1, 2, 3)),
        lambda v: (v > 0).mean((1, 2, 3)),
        lambda v: np.abs(v.sum((2, 3))[:, 1:] - v.sum((2, 3))[:, :-1]).sum(1),  # how steep
        lambda v: np.abs(np.diff(v.sum(1), axis=2)).sum((1, 2)),
    ):
        a, b = of(ours), of(theirs)
        error = np.hypot(a.std(), b.std()) / np.sqrt(len(a))
        assert abs(a.mean() - b.mean()) < 4 * error
        assert 0.6 < a.std() / b.std() < 1.6


def test_a_camera_adds_shot_noise_read_noise_and_its_offset():
    camera = Camera(read_noise=4.0, offset=100.0)
    photons = torch.full((400, 400), 50.0)
    frame = fresh.exposed(photons, camera, torch.Generator().manual_seed(0))
    assert torch.equal(frame, frame.round())
    assert float(frame.mean()) == pytest.approx(150, abs=0.2)
    assert float(frame.var()) == pytest.approx(50 + 16 + 1 / 12, rel=0.02)
    assert float(fresh.exposed(photons + 1e6, camera, torch.Generator()).max()) == 65535


def test_fresh_fields_are_normalised_like_those_of_the_series(series):
    frames, truth = fresh.FreshFields(series, "cpu").draw(24, torch.Generator().manual_seed(0))
    assert frames.shape == truth.shape == (24, 3, 32, 32)
    assert torch.equal(frames, fresh.FreshFields(series, "cpu").draw(24, torch.Generator().manual_seed(0))[0])
    counts = truth * torch.tensor(series.scale)[:, None, None] + torch.tensor(series.offset)[:, None, None]
    noise = (frames - truth) * torch.tensor(series.scale)[:, None, None]
    expected = (counts - 100).mean() + SMALL.camera.read_noise**2
    assert float(noise.var()) == pytest.approx(float(expected), rel=0.05)
    brightness = [float(counts[:, t].mean()) for t in range(3)]
    assert brightness == sorted(brightness)
    theirs = np.stack([field.truth for field in series.fields]).mean((0, 2, 3))
    assert brightness == pytest.approx(list(theirs), rel=0.4), "one microscope, other objects"


def test_a_series_keeps_what_it_was_simulated_with(series, tmp_path):
    save_series(series, tmp_path)
    again = load_series(tmp_path)
    assert again.simulated == series.simulated and fresh.FreshFields(again, "cpu").config == SMALL


def test_images_are_renewed_by_epoch_whatever_came_before(series):
    def at(epochs, clean_target="frame", seed=1):
        images = FreshImages(series, clean_target, "cpu", fresh_every=2, seed=seed)
        for epoch in epochs:
            images.renew(epoch)
        return images

    own, never = Images(series, "frame", "cpu"), FreshImages(series, "frame", "cpu", fresh_every=0, seed=1)
    never.renew(7)
    assert torch.equal(never.train, own.train) and torch.equal(own.train, torch.from_numpy(series.x("train")))
    assert torch.equal(at([0, 1]).train, own.train), "the first ones are the series' own"
    fourth = at([0, 1, 2, 3, 4])
    assert torch.equal(fourth.train, at([4]).train) and not torch.equal(fourth.train, at([2]).train)
    assert not torch.equal(fourth.train, at([4], seed=2).train)
    assert torch.equal(fourth.train_with_target[:, -1], fourth.train[:, 0])
    noise_free = at([4], "truth")
    assert torch.equal(noise_free.train, fourth.train)
    assert 0 < float((noise_free.train_with_target[:, -1] - fourth.train[:, 0]).std()) < 0.6
    assert torch.equal(fourth.validation, own.validation)


def test_a_series_without_settings_is_refused(series):
    with pytest.raises(ValueError, match="Fresh training fields need a simulated series of lines"):
        fresh.FreshFields(replace(series, simulated=None), "cpu")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["unet", "nafnet", "hdn", "hvae"])
def test_a_stage_that_goes_on_sees_the_fields_that_an_undisturbed_one_sees(series, kind):
    module = stage_module(kind)
    config = module.Config(fresh_every=2, num_epochs=4, steps_per_epoch=1, batch_size=2, patch_px=32)

    def made():
        torch.manual_seed(0)
        return module.Stage(config, Context(series, {}, 3, "cpu"))

    def epoch(stage):
        torch.manual_seed(stage.epoch)  # what a network draws itself
        return stage.train_epoch()

    whole = made()
    before = whole.images.train.clone()
    metrics = [epoch(whole) for _ in range(4)]
    assert not torch.equal(whole.images.train, before)
    first, second, last = made(), made(), made()
    for _ in range(3):
        epoch(first)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert epoch(second) == metrics[3]
    last.load_state_dict(copy.deepcopy(whole.state_dict()))  # interrupted after the last epoch
    assert whole.finish() == second.finish() == last.finish()
    assert whole.final == second.final == last.final
