"""Weights that do not fit are refused with the first keys and shapes that differ."""

import json

import pytest
import tiny_series
import torch
from torch import nn

from dehazing.models.unet import UNet
from dehazing.pipeline import checkpoint
from dehazing.pipeline.execute import executing
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.fitting import differences, require_fit
from dehazing.stages import weights

SMALL = {"T": 2, "base": 4, "depth": 2}


def refusal(wanted, found):
    with pytest.raises(ValueError) as error:
        require_fit(wanted, found, "It must fit")
    return str(error.value)


def test_what_fits_is_taken_and_what_is_empty_takes_anything():
    wanted = {"a": torch.zeros(2, 3), "moments": {}, "kept": [], "count": 3, "nested": ({"b": torch.zeros(1)},)}
    found = {"a": torch.ones(2, 3), "moments": {0: 1}, "kept": [1, 2], "count": 5, "nested": [{"b": torch.ones(1)}]}
    require_fit(wanted, found, "It must fit")


def test_keys_and_shapes_are_named_in_their_order():
    wanted = {"module": {"first": torch.zeros(2, 3), "second": torch.zeros(4)}, "lists": [torch.zeros(1)]}
    found = {"module": {"first": torch.zeros(3, 2), "third": torch.zeros(4)}, "lists": [1.0, 2.0]}
    assert list(differences(wanted, found)) == [
        "module.first is (3, 2) instead of (2, 3)",
        "module.second is missing",
        "module.third is not known",
        "lists has 2 entries instead of 1",
    ]
    assert refusal(wanted, found) == (
        "It must fit, but does not: module.first is (3, 2) instead of (2, 3); module.second is missing; "
        "module.third is not known and more."
    )
    assert refusal({"a": torch.zeros(2)}, {"a": "text"}).endswith("a is no tensor instead of (2,).")


def test_what_torch_refuses_is_refused_and_nothing_else():
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    require_fit(network.state_dict(), nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)).state_dict(), "x")
    for other in (nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2)), nn.Sequential(nn.Linear(2, 3)), nn.Linear(2, 3)):
        with pytest.raises(RuntimeError):
            network.load_state_dict(other.state_dict())
        with pytest.raises(ValueError, match="does not:"):
            require_fit(network.state_dict(), other.state_dict(), "x")


def test_published_weights_of_another_architecture_are_refused(tmp_path):
    for name, content in weights.pack(UNet(**SMALL), SMALL).items():
        (tmp_path / name).write_bytes(content)
    assert isinstance(weights.load(tmp_path), UNet)
    described = {"network": "UNet", "arguments": {**SMALL, "base": 8}}
    (tmp_path / "architecture.json").write_text(json.dumps(described))
    with pytest.raises(ValueError, match=r"json, but does not: stem\.weight is \(4, 1, 3, 3\) instead of \(8, "):
        weights.load(tmp_path)
    (tmp_path / "architecture.json").write_text(json.dumps({**described, "network": "Unet"}))
    with pytest.raises(ValueError, match=r"a network must be one of UNet, NAFNet, .*, but is 'Unet'"):
        weights.load(tmp_path)


@pytest.mark.slow
def test_a_checkpoint_of_other_settings_is_refused_and_nothing_is_trained(tmp_path):
    store = tiny_series.publish(tmp_path)
    brief = {"depth": 2, "patch_px": 32, "batch_size": 2, "num_epochs": 3, "steps_per_epoch": 1}
    small, large = (Execution("unet", {**brief, "base": base}, tiny_series.NAME, 0) for base in (4, 8))
    begun = executing(small, store, checkpoint_every_s=0.0)
    next(begun)
    begun.close()
    state = checkpoint.latest(store.partial(small.address))
    checkpoint.save(store.partial(large.address), state, 1)
    with pytest.raises(ValueError, match=r"its stage's settings, but .* module\.stem\.weight is \(4, 1, 3, 3\)"):
        list(executing(large, store))
    assert not store.has(large.address)
    assert [metrics["epoch"] for metrics in executing(small, store)] == [2, 3]
