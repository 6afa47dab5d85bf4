import pytest
import torch

from dehazing.models.hvae import HVAE
from dehazing.stages.elbo import elbo, ramped


def test_without_a_ramp_beta_is_the_same_from_the_first_step():
    assert [ramped(0.3, step, 10, 0.0) for step in (0, 5, 9)] == [0.3] * 3


def test_beta_rises_evenly_over_the_ramp_and_stays():
    assert [ramped(0.4, step, 10, 0.4) for step in (0, 1, 2, 4, 9)] == pytest.approx([0, 0.1, 0.2, 0.4, 0.4])
    assert ramped(0.4, 0, 10, 1.0) == 0 and ramped(0.4, 10, 10, 1.0) == 0.4


def test_at_the_foot_of_the_ramp_the_objective_is_the_reconstruction_alone():
    network, x = HVAE((2, 2, 2), width=4), torch.randn(2, 1, 16, 16)
    loss, rec = elbo(network, x, x, ramped(1.0, 0, 10, 0.5), 0.0)
    assert loss == rec
    loss, rec = elbo(network, x, x, 1.0, 0.0)
    assert loss > rec


def test_the_likelihood_s_variance_is_clamped_like_the_others():
    network, x = HVAE((2, 2, 2), width=4, log_var_range=(-1.0, 1.0)), torch.zeros(1, 1, 16, 16)
    with torch.no_grad():
        network.log_var.fill_(-7.0)
        network.head[1].weight.zero_()
        network.head[1].bias.zero_()
    _, rec = elbo(network, x, x, 1.0, 0.0)
    assert rec.item() == pytest.approx(-0.5)  # half of the log-variance, the error being 0
