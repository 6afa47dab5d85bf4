"""The objectives of the source: Eq. 3, 9, 12, 15 and 16. A latent is a tuple z_1 (finest) … z_n (coarsest)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

Latent = Sequence[Tensor]


def restoration_pixel(x_0: Tensor, restored: Tensor) -> Tensor:
    """Eq. 3: E ‖x_0 - R(x_t, t)‖², as the mean over pixels."""
    return (x_0 - restored).square().mean()


def restoration_latent(z_0: Latent, z0_hat: Latent) -> Tensor:
    """Eq. 12: E ‖z_0 - R(z_t, t)‖², averaged over groups, so that the fine ones do not drown the coarse."""
    return _over_groups((z - z_hat).square().mean() for z, z_hat in zip(z_0, z0_hat, strict=True))


def reconstruction(x: Tensor, mean: Tensor, log_var: Tensor | float) -> Tensor:
    """Gaussian negative log-likelihood of x, the reconstruction term of Eq. 9, in nats per pixel (no constant)."""
    log_var = torch.as_tensor(log_var, dtype=x.dtype, device=x.device)
    return (0.5 * (log_var + (x - mean).square() * torch.exp(-log_var))).mean()


def kl_gaussian(q_mean: Tensor, q_log_var: Tensor, p_mean: Tensor, p_log_var: Tensor) -> Tensor:
    """KL(q ‖ p) of two diagonal Gaussians, one of the sum's terms in Eq. 9, elementwise."""
    ratio = torch.exp(q_log_var - p_log_var)
    return 0.5 * (p_log_var - q_log_var + ratio + (q_mean - p_mean).square() * torch.exp(-p_log_var) - 1)


def hvae(rec: Tensor, kls: Sequence[Tensor], num_pixels: int, beta: float, free_nats: float = 0.0) -> Tensor:
    """Eq. 9: reconstruction plus the KL terms of the hierarchy, in nats per image pixel.

    kls: one (N, C_i, h_i, w_i) tensor per group, summed over its elements and divided by the image's pixels (a
    mean per level would overweight z_i by 4^i). free_nats: each group's KL per pixel below this costs nothing.
    """
    per_group = [kl.flatten(1).sum(1).mean() / num_pixels for kl in kls]
    return rec + beta * sum((kl.clamp(min=free_nats) for kl in per_group), torch.zeros_like(rec))


def gan_generator(scores_fake: Sequence[Tensor]) -> Tensor:
    """L_GAN of Eq. 15 as G or F sees it (least squares): D's scores of its output should be 1."""
    return _over_groups((score - 1).square().mean() for score in scores_fake)


def gan_discriminator(scores_real: Sequence[Tensor], scores_fake: Sequence[Tensor]) -> Tensor:
    """L_GAN of Eq. 15 as D_X or D_Y sees it (least squares, halved): real to 1, made to 0."""
    real = _over_groups((score - 1).square().mean() for score in scores_real)
    fake = _over_groups(score.square().mean() for score in scores_fake)
    return 0.5 * (real + fake)


def cycle(X: Latent, X_again: Latent, Y: Latent, Y_again: Latent) -> Tensor:
    """L_cyc of Eq. 15: ‖F(G(X)) - X‖₁ + ‖G(F(Y)) - Y‖₁, averaged over groups."""
    return pair_l1(X, X_again) + pair_l1(Y, Y_again)


def pair_l1(Y: Latent, Y_hat: Latent) -> Tensor:
    """‖G(X) - Y‖₁ to the paired latent, averaged over groups; not in the source (its weight is 0 by default)."""
    return _over_groups((y - y_hat).abs().mean() for y, y_hat in zip(Y, Y_hat, strict=True))


def cosine(Y: Latent, Y_hat: Latent, eps: float = 1e-6) -> Tensor:
    """L_cos of Eq. 15: 1 - cos of the channel vectors at each position, averaged over positions and groups.

    What Y is (the paired z_{t-1}, the input, or the cycle's start) is the caller's choice. With a single channel,
    as in the pixel control, the vector at a position is the image itself.
    """

    def group(y: Tensor, y_hat: Tensor) -> Tensor:
        if y.shape[1] == 1:
            y, y_hat = y.flatten(1), y_hat.flatten(1)
        return 1 - functional.cosine_similarity(y, y_hat, dim=1, eps=eps).mean()

    return _over_groups(group(y, y_hat) for y, y_hat in zip(Y, Y_hat, strict=True))


def degrader(gan_G: Tensor, gan_F: Tensor, cyc: Tensor, cos: Tensor, lambda_cyc: float, lambda_cos: float) -> Tensor:
    """Eq. 15, what G and F minimise in Eq. 16."""
    return gan_G + gan_F + lambda_cyc * cyc + lambda_cos * cos  # Eq. 15


def _over_groups(terms) -> Tensor:
    return torch.stack(list(terms)).mean()
