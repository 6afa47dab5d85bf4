"""One step of the descent, against what it comes to by hand."""

import copy
import math

import pytest
import torch
from torch import nn

from dehazing.stages.compute import Compute
from dehazing.stages.descent import Descent

BRIEF = {"num_steps": 20, "seed": 0}


def module():
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def loss(network, size=1.0):
    return size * network(torch.tensor([[1.0, 2.0, 2.0]])).sum()  # the gradient is size * (1, 2, 2; 1)


def snapshot(descent):
    moments = descent.optimizer.state_dict()["state"]
    moments = {i: moment for i, moment in moments.items() if moment["step"]}  # as it was made, without a step: all 0
    return copy.deepcopy((descent.module.state_dict(), descent.averaged.state_dict(), moments))


def unchanged(before, descent):
    now = snapshot(descent)
    assert str(now[2].keys()) == str(before[2].keys())
    torch.testing.assert_close(now, before, rtol=0, atol=0)
    return True


def length(network):
    return torch.cat([parameter.grad.flatten() for parameter in network.parameters()]).norm()


def test_a_long_gradient_is_shortened_and_a_short_one_is_not():
    descent = Descent(module(), lr=1e-3, clip_norm=0.5, **BRIEF)
    descent.step(loss(descent.module, 100))
    assert length(descent.module) == pytest.approx(0.5, rel=1e-4)
    descent.step(loss(descent.module, 0.1))
    assert length(descent.module) == pytest.approx(0.1 * 10**0.5, rel=1e-4)


def test_a_step_with_a_gradient_that_is_too_long_changes_nothing_but_the_count():
    descent = Descent(module(), lr=1e-3, skip_norm=4.0, **BRIEF)
    descent.step(loss(descent.module))  # its length is the root of 10
    before = snapshot(descent)
    descent.step(loss(descent.module, 2))
    assert unchanged(before, descent)
    assert (descent.num_done, descent.num_skipped) == (2, 1) and descent.read()["train/skipped"] == 1.0
    descent.step(loss(descent.module))
    assert not torch.equal(descent.module.weight, before[0]["weight"]) and descent.num_skipped == 1


def test_a_gradient_that_is_not_finite_is_skipped_with_its_step():
    descent = Descent(module(), lr=1e-3, skip_norm=4.0, **BRIEF)
    before = snapshot(descent)
    at_zero = loss(descent.module) - loss(descent.module).detach()
    descent.step(at_zero.clamp(min=0).sqrt())  # the root is 0, its slope infinite
    assert unchanged(before, descent) and descent.num_skipped == 1


def test_without_a_bound_no_step_is_skipped():
    descent = Descent(module(), lr=1e-3, **BRIEF)
    before = descent.module.weight.detach().clone()
    descent.step(loss(descent.module, 1e6))
    assert not torch.equal(descent.module.weight, before) and descent.num_skipped == 0
    assert set(descent.read()) == {"train/loss"}


@pytest.mark.parametrize("ema_decay", [0.0, 0.2, 0.99])
def test_the_average_follows_the_weights_by_its_decay(ema_decay):
    descent = Descent(module(), lr=0.1, ema_decay=ema_decay, **BRIEF)
    expected = descent.module.weight.detach().clone()
    for done in range(1, 4):
        descent.step(loss(descent.module))
        decay = min(ema_decay, (1 + done) / (10 + done))  # faster while there is little to average
        expected = decay * expected + (1 - decay) * descent.module.weight.detach()
        torch.testing.assert_close(descent.averaged.weight.detach(), expected)


def test_a_descent_that_goes_on_from_its_state_has_skipped_as_many():
    first, second = (Descent(module(), lr=1e-3, skip_norm=4.0, **BRIEF) for _ in range(2))
    first.step(loss(first.module, 9))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert (second.num_done, second.num_skipped) == (1, 1)


def test_a_step_is_that_of_adam_with_decoupled_decay():
    """By hand (Loshchilov & Hutter, Algorithm 2), two steps."""
    descent = Descent(module(), lr=0.1, num_steps=40, seed=0, weight_decay=0.3, clip_norm=1e9)
    w, m, v = descent.module.weight.detach().double(), 0.0, 0.0
    for step in range(2):
        descent.step(loss(descent.module, 1 + step))
        g = (1 + step) * torch.tensor([[1.0, 2.0, 2.0]]).double()
        lr = 0.1 * min(1, (step + 1) / 2) * 0.5 * (1 + math.cos(math.pi * step / 40))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        update = m / (1 - 0.9 ** (step + 1)) / ((v / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
        w = w - lr * 0.3 * w - lr * update
        torch.testing.assert_close(descent.module.weight.detach().double(), w, rtol=1e-5, atol=1e-6)


def test_the_means_of_an_epoch_are_read_once():
    descent = Descent(module(), lr=1e-3, **BRIEF)
    losses = []
    for size in (1.0, 2.0, 4.0):
        losses.append(loss(descent.module, size))
        descent.step(losses[-1], {"loss": losses[-1], "loss_rec": torch.tensor(size)})
    expected = {"train/loss": float(sum(losses).detach()) / 3, "train/loss_rec": 7 / 3}
    assert descent.read() == pytest.approx(expected) and descent.read() == {}


@pytest.mark.parametrize("skip_norm", [0.0, 4.0])
def test_a_loss_that_is_not_finite_ends_it_with_step_and_terms(skip_norm):
    descent = Descent(module(), lr=1e-3, skip_norm=skip_norm, **BRIEF)
    descent.step(loss(descent.module))
    descent.read()
    for size in (1.0, float("nan"), 1.0):
        made = loss(descent.module, size)
        descent.step(made, {"loss": made, "loss_rec": torch.tensor(0.25)})
    with pytest.raises(
        FloatingPointError, match=r"stay finite, but `loss` became nan at step 2 \(loss nan, .*rec 0.25"
    ):
        descent.read()


def test_a_gradient_that_is_followed_must_be_finite():
    descent = Descent(module(), lr=1e-3, **BRIEF)
    at_zero = loss(descent.module) - loss(descent.module).detach()
    descent.step(at_zero.clamp(min=0).sqrt())  # the root is 0, its slope infinite
    with pytest.raises(FloatingPointError, match=r"`gradient` became .* at step 0"):
        descent.read()


def test_one_that_goes_on_knows_the_size_of_the_first_epoch_and_forgets_what_was_not_read():
    first, second = (Descent(module(), lr=1e-3, compute=Compute(runaway=10.0), **BRIEF) for _ in range(2))
    first.step(loss(first.module))
    first.read()
    second.step(loss(second.module, float("nan")))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert second.read() == {}
    second.step(loss(second.module, 1e6).abs())
    with pytest.raises(FloatingPointError, match="ran away at step 1"):
        second.read()


@pytest.mark.parametrize("compute", [Compute(), Compute(channels_last=True), Compute(precision="bfloat16")])
def test_one_that_goes_on_takes_the_same_steps_to_the_bit(compute):
    def conv():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.SiLU(), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 1))

    def steps(descent, num):
        for _ in range(num):
            x = torch.rand(2, 1, 12, 12, generator=descent.generator)
            with descent.autocast():
                made = descent.module(x).square().mean()
            descent.step(made)

    first, second = (Descent(conv(), lr=1e-2, skip_norm=50.0, compute=compute, **BRIEF) for _ in range(2))
    steps(first, 3)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    steps(first, 3)
    steps(second, 3)
    assert unchanged(snapshot(first), second)
    formats = {weight.stride() for weight in second.module.parameters() if weight.shape == (4, 4, 3, 3)}
    assert formats == {(36, 1, 12, 4) if compute.channels_last else (36, 9, 3, 1)}


def test_the_generator_of_another_kind_of_device_is_replaced():
    first, second = (Descent(module(), lr=1e-3, **BRIEF) for _ in range(2))
    state = copy.deepcopy(first.state_dict())
    state["generator"] = torch.zeros(16, dtype=torch.uint8)  # as long as that of a GPU
    state["num_done"] = 7
    second.load_state_dict(state)
    assert torch.equal(second.generator.get_state(), torch.Generator().manual_seed(7).get_state())
