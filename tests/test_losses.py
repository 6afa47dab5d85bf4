import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from dehazing import losses


def latent(*values):
    """Groups of one position each, (1, C_i, 1, 1)."""
    return tuple(torch.tensor(value, dtype=torch.float64)[None, :, None, None] for value in values)


def test_restoration_in_pixels_is_the_mean_square():
    assert losses.restoration_pixel(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 4.0])) == 2.5  # Eq. 3


def test_restoration_in_latents_weighs_groups_alike():
    fine, coarse = torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 2, 2)
    assert losses.restoration_latent((fine, coarse), (fine + 1, coarse + 3)) == 5.0  # Eq. 12: (1 + 9) / 2


def test_reconstruction_is_the_gaussian_likelihood_without_its_constant():
    x, mean = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4)
    for log_var in (0.0, -1.3, torch.randn(2, 1, 4, 4)):
        std = torch.as_tensor(log_var).mul(0.5).exp()
        expected = -Normal(mean, std).log_prob(x).mean() - 0.5 * math.log(2 * math.pi)
        torch.testing.assert_close(losses.reconstruction(x, mean, log_var), expected)


def test_kl_agrees_with_torch_distributions():
    torch.manual_seed(0)
    q_mean, q_log_var, p_mean, p_log_var = torch.randn(4, 100, dtype=torch.float64)
    expected = kl_divergence(Normal(q_mean, (q_log_var / 2).exp()), Normal(p_mean, (p_log_var / 2).exp()))
    torch.testing.assert_close(losses.kl_gaussian(q_mean, q_log_var, p_mean, p_log_var), expected)
    assert losses.kl_gaussian(q_mean, q_log_var, q_mean, q_log_var).abs().max() < 1e-15


def test_hvae_counts_nats_per_image_pixel():
    rec = torch.tensor(0.5)
    fine, coarse = torch.full((2, 4, 4, 4), 0.25), torch.full((2, 1, 2, 2), 2.0)  # 16 and 8 nats an image
    assert losses.hvae(rec, [fine, coarse], num_pixels=64, beta=2.0) == 0.5 + 2 * (16 + 8) / 64  # Eq. 9


def test_free_nats_cost_nothing_and_teach_nothing():
    kl = torch.full((1, 1, 2, 2), 0.1, requires_grad=True)  # 0.4 nats on 4 pixels: 0.1 per pixel
    loss = losses.hvae(torch.tensor(0.0), [kl], num_pixels=4, beta=1.0, free_nats=0.2)
    loss.backward()
    assert loss.item() == pytest.approx(0.2) and kl.grad.abs().max() == 0


def test_least_squares_gan():
    real, fake = [torch.tensor([1.0, 0.5])], [torch.tensor([0.0, 1.0])]
    assert losses.gan_generator(fake) == 0.5  # ((0 - 1)² + (1 - 1)²) / 2
    assert losses.gan_discriminator(real, fake) == 0.5 * (0.125 + 0.5)
    assert losses.gan_discriminator([torch.ones(3)], [torch.zeros(3)]) == 0
    assert losses.gan_generator([torch.zeros(5), torch.full((2,), 3.0)]) == 2.5  # (1 + 4) / 2, whatever their size


def test_cycle_is_l1_both_ways():
    X, Y = latent([1.0, 2.0], [0.0]), latent([3.0, 3.0], [1.0])
    X_again, Y_again = latent([2.0, 2.0], [4.0]), latent([3.0, 1.0], [1.0])
    assert losses.cycle(X, X_again, Y, Y_again) == (0.5 + 4) / 2 + (1 + 0) / 2  # L_cyc of Eq. 15
    assert losses.cycle(X, X, Y, Y) == 0


def test_cosine_compares_directions_at_each_position():
    Y = latent([1.0, 0.0], [3.0, 4.0])
    assert losses.cosine(Y, latent([5.0, 0.0], [6.0, 8.0])) == pytest.approx(0)
    assert losses.cosine(Y, latent([0.0, 2.0], [3.0, 4.0])) == pytest.approx(0.5)  # (1 + 0) / 2
    assert losses.cosine(Y, latent([-1.0, 0.0], [-3.0, -4.0])) == pytest.approx(2)
    assert losses.cosine(Y, latent([1.0, 1.0], [3.0, 4.0])) == pytest.approx((1 - math.sqrt(0.5)) / 2)


def test_cosine_of_one_channel_compares_images():
    y = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]], [[[0.0, 2.0], [0.0, 0.0]]]])  # (2, 1, 2, 2)
    other = torch.tensor([[[[3.0, 0.0], [0.0, 0.0]]], [[[2.0, 0.0], [0.0, 0.0]]]])
    assert losses.cosine((y,), (other,)) == pytest.approx(0.5)


def test_degrader_weighs_its_terms():
    terms = [torch.tensor(value) for value in (1.0, 2.0, 3.0, 4.0)]
    assert losses.degrader(*terms, lambda_cyc=10.0, lambda_cos=0.5) == 1 + 2 + 30 + 2  # Eq. 15
