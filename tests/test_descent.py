"""One step of the descent, against what it comes to by hand."""

import copy

import pytest
import torch
from torch import nn

from dehazing.stages.descent import Descent

BRIEF = {"num_steps": 20, "seed": 0}


def module():
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def loss(network, size=1.0):
    return size * network(torch.tensor([[1.0, 2.0, 2.0]])).sum()  # the gradient is size * (1, 2, 2; 1)


def snapshot(descent):
    moments = descent.optimizer.state_dict()["state"]
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
    assert (descent.num_done, descent.num_skipped) == (2, 1) and descent.skipped() == {"train/skipped": 1.0}
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
    assert not torch.equal(descent.module.weight, before) and descent.num_skipped == 0 and descent.skipped() == {}


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
