"""What is set for the training of HVAE and HDN arrives there."""

import json

import pytest
import tiny_series
import torch

from dehazing.data.archive import load_series
from dehazing.pipeline.stage import Context
from dehazing.stages import stage_module, weights

pytestmark = pytest.mark.slow

BRIEF = {
    "num_epochs": 2,
    "steps_per_epoch": 2,
    "batch_size": 2,
    "patch_px": 32,
    "width": 8,
    "latent_channels": (2, 2, 2),
}


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    return load_series(tiny_series.publish(tmp_path_factory.mktemp("results")).folder(f"series/{tiny_series.NAME}"))


def stage(series, kind, **settings):
    module = stage_module(kind)
    torch.manual_seed(0)
    return module.Stage(module.Config(**BRIEF, **settings), Context(series, {}, 0, "cpu"))


def flat(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


@pytest.mark.parametrize("kind", ["hvae", "hdn"])
def test_steps_with_long_gradients_are_left_out_and_counted(series, kind):
    one = stage(series, kind, skip_norm=1e-9)
    before = flat(one.descent.module)
    assert [one.train_epoch()["train/skipped"] for _ in range(2)] == [2.0, 4.0]
    assert torch.equal(flat(one.descent.module), before) and one.epoch == 2
    assert "train/skipped" not in stage(series, kind).train_epoch()


@pytest.mark.parametrize("kind", ["hvae", "hdn"])
def test_the_published_network_keeps_its_range_of_log_variances(series, kind, tmp_path):
    one = stage(series, kind, log_var_range=(-2.0, 1.0))
    one.train_epoch()
    for name, content in one.finish().items():
        (tmp_path / name).write_bytes(content)
    assert json.loads((tmp_path / "architecture.json").read_text())["arguments"]["log_var_range"] == [-2.0, 1.0]
    network = weights.load(tmp_path)
    _, gaussians = network(100 * torch.randn(1, 1, 16, 16))
    assert all(part.log_var.min() >= -2 and part.log_var.max() <= 1 for pair in gaussians for part in pair)


@pytest.mark.parametrize("kind", ["hvae", "hdn"])
@pytest.mark.parametrize("setting", [{"kl_ramp": 1.0}, {"clip_norm": 1e-3}, {"free_nats": 5.0}, {"ema_decay": 0.0}])
def test_every_other_setting_changes_what_is_learned(series, kind, setting):
    plain, changed = stage(series, kind, beta=1.0), stage(series, kind, beta=1.0, **setting)
    for one in (plain, changed):
        torch.manual_seed(1)
        one.train_epoch()
    assert not torch.equal(flat(plain.descent.averaged), flat(changed.descent.averaged))
