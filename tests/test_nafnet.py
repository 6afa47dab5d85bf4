"""NAFNet: what it sees, what it is at the start, that its parts are what they are called, and that it learns."""

import itertools
import json

import pytest
import torch
from test_tiling import AGREES, EXACT, SIZES, error, image, trained
from torch import nn
from torch.nn import functional

from dehazing import tiled_networks
from dehazing.models.nafnet import LayerNorm, LocalAttention, NAFNet, SimpleGate, _reflected
from dehazing.pipeline.execute import execute
from dehazing.pipeline.execution import Execution
from dehazing.stages import weights
from dehazing.tiling import margin_of
from tests import tiny_series

T = 2
SMALL = {"T": T, "width": 4, "depth": 2, "num_middle": 2, "window": 3}


def started(**changes):
    """A network with every parameter drawn, so that no block is left out by a scale of 0."""
    torch.manual_seed(0)
    network = NAFNet(**{**SMALL, **changes})
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = NAFNet(**SMALL)
    return trained(network, lambda x: (network(x, torch.full((len(x),), T)) - x.square()).square().mean())


@pytest.mark.parametrize("size", [(64, 64), (37, 50), (9, 21), (1, 1)])
def test_images_of_any_size_keep_their_size(size):
    restored = started()(torch.randn(3, 1, *size), torch.tensor([0, 1, 2]))
    assert restored.shape == (3, 1, *size) and restored.isfinite().all()


def test_at_the_start_it_returns_its_input():
    torch.manual_seed(0)
    network, x = NAFNet(T), torch.randn(2, 1, 40, 33)
    assert torch.equal(network(x, torch.tensor([1, 2])), x)
    gates = [p for name, p in network.named_parameters() if name.endswith(("beta", "gamma"))]
    assert len(gates) == 2 * 9 and not any(gate.any() for gate in gates)  # blocks: three on either side, three between


def test_the_level_matters():
    network, x = started(), torch.randn(1, 1, 32, 32)
    outputs = [network(x, torch.tensor([t])) for t in range(T + 1)]
    assert all((a - b).abs().max() > 1e-3 for a, b in itertools.combinations(outputs, 2))
    both = network(x.repeat(2, 1, 1, 1), torch.tensor([1, 2]))  # in one batch as alone
    assert torch.allclose(both, torch.cat(outputs[1:]), atol=1e-5)


def test_the_layer_norm_is_torchs_own_on_each_pixel_alone():
    torch.manual_seed(0)
    norm, own = LayerNorm(6), nn.LayerNorm(6, eps=1e-6)
    for a, b in ((norm.gain, own.weight), (norm.bias, own.bias)):
        nn.init.normal_(a)
        b.data.copy_(a)
    h = 3 * torch.randn(2, 6, 5, 4) + 7
    for y, x in itertools.product(range(5), range(4)):
        assert torch.allclose(norm(h)[:, :, y, x], own(h[:, :, y, x]), atol=1e-6)


def test_the_gate_multiplies_the_halves_of_the_channels():
    h = torch.arange(4.0).reshape(1, 4, 1, 1) + 1
    assert SimpleGate()(h).flatten().tolist() == [1 * 3, 2 * 4]


def test_attention_multiplies_by_the_mean_of_the_window_with_reflected_borders():
    attention = LocalAttention(1, cell=2, window=3).requires_grad_(False)
    attention.mix.weight.fill_(1.0)
    attention.mix.bias.fill_(0.0)
    cells = torch.tensor([[1.0, 2.0, 4.0, 8.0], [1.0, 2.0, 4.0, 8.0], [1.0, 2.0, 4.0, 8.0], [1.0, 2.0, 4.0, 8.0]])
    h = torch.ones(1, 1, 8, 8) * cells.repeat_interleave(2, 0).repeat_interleave(2, 1)
    means = [(2 + 1 + 2) / 3, (1 + 2 + 4) / 3, (2 + 4 + 8) / 3, (4 + 8 + 4) / 3]  # of the columns of cells, by hand
    factors = (attention(h) / h)[0, 0]
    assert torch.allclose(factors[:, [0, 7]], torch.tensor([means[0], means[3]]))  # from the outer cells' middles on
    between = [0.75 * means[k] + 0.25 * means[k + 1] for k in range(3)]  # a quarter of the way to the next middle
    assert torch.allclose(factors[:, 1:7:2], torch.tensor(between)) and torch.allclose(factors, factors[:1])


@pytest.mark.parametrize("size", [(8, 8), (4, 9), (3, 3)])
@pytest.mark.parametrize("margin", [0, 1, 3])
def test_a_margin_is_torchs_own_and_so_is_its_gradient(size, margin):
    mode = "reflect" if margin < min(size) else "replicate"
    ours = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    own = ours.detach().clone().requires_grad_()
    made, expected = _reflected(ours, margin), functional.pad(own, (margin,) * 4, mode=mode)
    assert torch.equal(made, expected)
    weight = torch.randn_like(expected)
    for padded in (made, expected):
        (padded * weight).sum().backward()
    torch.testing.assert_close(ours.grad, own.grad)


def test_attention_over_a_window_as_large_as_its_cells_is_the_linear_map_of_the_means():
    """With a window of one cell, each cell is attended to as the original attends to an image of its own."""
    torch.manual_seed(0)
    attention = LocalAttention(3, cell=8, window=1).requires_grad_(False)
    h = torch.randn(1, 3, 8, 8)
    weight, bias = attention.mix.weight[:, :, 0, 0], attention.mix.bias
    expected = h * (weight @ h.mean((2, 3))[0] + bias)[None, :, None, None]
    assert torch.allclose(attention(h), expected, atol=1e-6)


def test_what_is_far_away_has_no_influence_and_what_is_near_has():
    network = started()
    t = torch.tensor([T])
    margin = margin_of(lambda x: (network(x, t),), (1,), (1,), 2**network.depth)
    side = 2 * margin + 64
    assert side < 512, "attention must not see the whole image"
    x, changed = (torch.zeros(1, 1, 8, side) for _ in range(2))
    changed[..., 0] = 1.0
    difference = (network(x, t) - network(changed, t)).abs()[0, 0].amax(0)
    assert not difference[margin + 4 :].any() and difference[1:4].all()
    wider = started(window=5)
    assert margin_of(lambda x: (wider(x, t),), (1,), (1,), 2**wider.depth) > margin


@pytest.mark.parametrize("size", SIZES)
def test_tiles_are_restored_as_the_whole_is(network, size):
    x = image(*size, num=2)
    whole = network(x, torch.tensor([T, T]))
    assert (whole - x).abs().max() > 0.1, "it has learned something"
    assert error(tiled_networks.one_shot(network, T, tile_px=32)(x), whole) < EXACT < AGREES


def test_a_patch_has_what_the_field_has_there(network):
    """What pooling over the whole image breaks: away from its border a patch is restored as in its field."""
    x, t = image(384, 384), torch.tensor([T])
    margin = margin_of(lambda x: (network(x, t),), (1,), (1,), 2**network.depth)
    first, last = 192 - margin - 8, 192 + margin + 8
    inside = slice(margin, margin + 16)
    patch = network(x[..., first:last, first:last], t)[..., inside, inside]
    assert error(patch, network(x, t)[..., 184:200, 184:200]) < EXACT


@pytest.mark.parametrize("window", [1, 3, 7])
def test_a_window_wider_than_the_image_is_no_error(window):
    assert started(window=window)(torch.randn(1, 1, 8, 8), torch.tensor([1])).isfinite().all()


@pytest.mark.slow
def test_the_stage_learns_and_what_it_publishes_is_what_it_validated(tmp_path):
    store = tiny_series.publish(tmp_path)
    brief = {"width": 4, "depth": 2, "patch_px": 32, "batch_size": 4, "num_epochs": 3, "steps_per_epoch": 20}
    run = Execution("nafnet", brief, tiny_series.NAME, 0)
    execute(run, store)
    metrics = json.loads(store.read(run.address, "metrics.json"))
    losses = [epoch["train/loss"] for epoch in metrics["history"]]
    assert losses[-1] < 0.9 * losses[0]
    assert metrics["history"][-1]["val/psnr"] == pytest.approx(metrics["final"]["val/psnr"], abs=1e-6)
    network = weights.load(store.folder(run.address))
    assert type(network) is NAFNet and network.depth == 2
