"""The hierarchical VAE: E and Dec of Eq. 6-10, a ladder with a bottom-up pass and a top-down prior and posterior."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dehazing.models.blocks import ResidualBlock, Up, at_least_single, down, pad_to_multiple

Latent = tuple[Tensor, ...]
LogVarRange = tuple[float, float]
LOG_VAR_RANGE: LogVarRange = (-8.0, 4.0)


class Gaussian(NamedTuple):
    """A diagonal Gaussian over one latent group, (N, C_i, h_i, w_i) each."""

    mean: Tensor
    log_var: Tensor


class Group(nn.Module):
    """One rung of the ladder: p(z_i | z_{j>i}) of Eq. 7, q(z_i | z_{j>i}, x) of Eq. 8, and the merge into the state."""

    def __init__(self, width: int, num_latent: int, log_var_range: LogVarRange = LOG_VAR_RANGE):
        super().__init__()
        self.log_var_range = log_var_range
        self.prior = nn.Conv2d(width, 2 * num_latent, 1)
        self.combine = nn.Conv2d(2 * width, width, 1)
        self.combined = ResidualBlock(width)
        self.posterior = nn.Conv2d(width, 2 * num_latent, 1)
        self.merge = nn.Conv2d(num_latent, width, 1)
        self.out = ResidualBlock(width)
        for parameter in self.prior.parameters():
            nn.init.zeros_(parameter)

    def p(self, h: Tensor) -> Gaussian:
        return _gaussian(self.prior(h), self.log_var_range)

    def q(self, h: Tensor, seen: Tensor) -> Gaussian:
        state = self.combined(self.combine(torch.cat([h, seen], 1)))
        return _gaussian(self.posterior(state), self.log_var_range)

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        return self.out(h + self.merge(z))


class HVAE(nn.Module):
    """A ladder VAE over images (N, 1, Y, X), with groups z_1 at half resolution to z_n at 1/2^n.

    latent_channels: C_1 … C_n. The latents that `encode` gives and `decode` takes are standardised by the statistics
    of the training latents (`standardise`), so every user of the latent space sees mean 0 and variance 1. `level`
    of the image is never told to it: an autoencoder of all levels. log_var_range: every log-variance is clamped to it.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(
        self,
        latent_channels: Sequence[int] = (4, 4, 8, 8),
        width: int = 24,
        log_var_range: Sequence[float] = LOG_VAR_RANGE,
    ):
        super().__init__()
        self.latent_channels = tuple(latent_channels)
        lowest, highest = log_var_range
        self.log_var_range = (lowest, highest)
        n = len(self.latent_channels)
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), ResidualBlock(width))
        self.downs = nn.ModuleList(nn.Sequential(down(width, width), ResidualBlock(width)) for _ in range(n))
        self.groups: Any = nn.ModuleList(Group(width, c, self.log_var_range) for c in self.latent_channels)
        self.ups = nn.ModuleList(Up(width, width) for _ in range(n))
        self.top = nn.Parameter(torch.zeros(width, 1, 1))  # the same everywhere, so that any image size has a prior
        self.head = nn.Sequential(ResidualBlock(width), nn.Conv2d(width, 1, 3, padding=1))
        self.log_var = nn.Parameter(torch.tensor(-2.0))  # of the likelihood
        self.register_buffer("latent_mean", torch.zeros(sum(self.latent_channels)))
        self.register_buffer("latent_std", torch.ones(sum(self.latent_channels)))

    def forward(self, x: Tensor) -> tuple[Tensor, list[tuple[Gaussian, Gaussian]]]:
        """One posterior sample through the ladder: the reconstruction's mean, and (q, p) of each group, z_1 first."""
        gaussians: list[tuple[Gaussian, Gaussian]] = []

        def sample(i: int, q: Gaussian, p: Gaussian) -> Tensor:
            gaussians.insert(0, (q, p))
            return _drawn(q)

        mean = self._crop(self._down_the_ladder(self._up_the_ladder(x), sample), x)
        return mean, gaussians

    def sample(self, x: Tensor, num_samples: int, noise: Latent | None = None) -> Tensor:
        """Reconstructions from posterior samples, (num_samples, N, 1, Y, X); the bottom-up pass is shared.

        noise: the standard normal numbers of the draws, (num_samples * N, C_i, h_i, w_i) each; torch's own without.
        """
        seen = [h.repeat(num_samples, 1, 1, 1) for h in self._up_the_ladder(x)]
        padded = self._down_the_ladder(seen, lambda i, q, p: _drawn(q, None if noise is None else noise[i]))
        return self._crop(padded, x).unflatten(0, (num_samples, len(x)))

    def encode(self, x: Tensor) -> Latent:
        """E(x) of Eq. 10, standardised; the image is padded to a multiple of 2^n.

        The source leaves open whether E is the posterior's mean or a sample; it is the mean here, so that the loop and
        its latents are deterministic.
        """
        means: dict[int, Tensor] = {}

        def mean(i: int, q: Gaussian, p: Gaussian) -> Tensor:
            means[i] = q.mean
            return q.mean

        self._down_the_ladder(self._up_the_ladder(x), mean, to_the_image=False)
        return tuple((means[i] - m) / s for i, (m, s) in enumerate(self._statistics()))

    def decode(self, z: Latent, from_prior: Collection[int] = ()) -> Tensor:
        """Dec(z) of Eq. 20, deterministic: (N, 1, 2 h_1, 2 w_1), to be cropped to the image that was encoded.

        from_prior: groups (0 the finest) whose latent is left unread; the mean of its prior, given the coarser groups,
        takes its place.
        """
        raw = [z_i * s + m for z_i, (m, s) in zip(z, self._statistics(), strict=True)]

        def chosen(i: int, q: Gaussian, p: Gaussian) -> Tensor:
            return p.mean if i in from_prior else raw[i]

        return self._down_the_ladder([None] * len(raw), chosen, like=raw[-1])

    @torch.no_grad()
    def standardise(self, x: Tensor, chunk: int = 16) -> None:
        """Measure the spread of the latents over images x (M, 1, Y, X); from then on they are standardised.

        The spread is that of the aggregate posterior (of the means, plus the mean posterior variance), so a channel
        that the posterior leaves unused is not blown up.
        """
        self.latent_mean.zero_()
        self.latent_std.fill_(1)
        moments = torch.zeros(3, len(self.latent_mean), device=x.device, dtype=torch.float64)
        for part in x.split(chunk):
            seen = self.encode_gaussians(part)
            for row, values in enumerate(
                (
                    [q.mean for q in seen],
                    [q.mean.square() for q in seen],
                    [q.log_var.exp() for q in seen],
                )
            ):
                moments[row] += torch.cat([v.double().mean((2, 3)).sum(0) for v in values])
        mean, square, posterior_var = moments / len(x)
        self.latent_mean.copy_(mean)
        self.latent_std.copy_((square - mean.square() + posterior_var).clamp(min=1e-8).sqrt())

    def encode_gaussians(self, x: Tensor) -> list[Gaussian]:
        """The posterior of every group along the path of posterior means, z_1 first, not standardised."""
        posteriors: dict[int, Gaussian] = {}

        def mean(i: int, q: Gaussian, p: Gaussian) -> Tensor:
            posteriors[i] = q
            return q.mean

        self._down_the_ladder(self._up_the_ladder(x), mean, to_the_image=False)
        return [posteriors[i] for i in range(len(self.groups))]

    def _up_the_ladder(self, x: Tensor) -> list[Tensor]:
        h, seen = self.stem(pad_to_multiple(x, 2 ** len(self.groups))), []
        for block in self.downs:
            h = block(h)
            seen.append(h)
        return seen

    def _down_the_ladder(
        self,
        seen: Sequence[Tensor | None],
        choose: Callable[[int, Gaussian, Gaussian], Tensor],
        like: Tensor | None = None,
        to_the_image: bool = True,
    ) -> Tensor:
        """The padded image's mean; or, not `to_the_image`, the state at which the finest group was chosen."""
        coarsest = seen[-1] if like is None else like
        assert coarsest is not None
        h = self.top.expand(len(coarsest), -1, *coarsest.shape[-2:])
        for i in reversed(range(len(self.groups))):
            group, seen_i = self.groups[i], seen[i]
            p = group.p(h)
            q = p if seen_i is None else group.q(h, seen_i)
            z_i = choose(i, q, p)
            if i == 0 and not to_the_image:
                return h
            h = self.ups[i](group(h, z_i))
        return self.head(h)

    def _statistics(self) -> list[tuple[Tensor, Tensor]]:
        means, stds = (v.split(self.latent_channels) for v in (self.latent_mean, self.latent_std))
        return [(m[:, None, None], s[:, None, None]) for m, s in zip(means, stds, strict=True)]

    @staticmethod
    def _crop(padded: Tensor, x: Tensor) -> Tensor:
        return padded[..., : x.shape[-2], : x.shape[-1]]


def _drawn(q: Gaussian, noise: Tensor | None = None) -> Tensor:
    if noise is None:  # the same whatever the memory format, as `randn_like` is not
        noise = torch.randn(q.mean.shape, dtype=q.mean.dtype, device=q.mean.device)
    return q.mean + torch.exp(0.5 * q.log_var) * noise


def _gaussian(parameters: Tensor, log_var_range: LogVarRange) -> Gaussian:
    mean, log_var = at_least_single(parameters).chunk(2, dim=1)
    return Gaussian(mean, log_var.clamp(*log_var_range))
