"""A multi-resolution UNet over latent groups: R of Eq. 11, and the body of G and F of Eq. 14."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dehazing.levels import require_level
from dehazing.models.blocks import LevelEmbedding, ResidualBlock, Up, down

Latent = tuple[Tensor, ...]


class LatentUNet(nn.Module):
    """Latent tuples in, one latent tuple out: a linear map of each channel plus a predicted residual.

    The linear map (a gain per input and a shift) belongs to a level and can be fitted before training (`fit_linear`),
    so that the network starts as the best linear operator and need not learn the change of contrast between levels.

    channels: C_1 … C_n of the groups, finest first, each half the resolution of the one before; 0 for a resolution
    without a group, so that an image is the latent (1, 0, 0, …). num_inputs: how many latents are concatenated per
    group (a prediction and its anchor). T: the haziest level; None for a network that belongs to one level alone.
    """

    def __init__(self, channels: Sequence[int], width: int = 32, T: int | None = None, num_inputs: int = 1):
        super().__init__()
        self.channels, self.T = tuple(channels), T
        embedding = 64 if T is not None else 0
        self.level = LevelEmbedding(T, embedding) if T is not None else None
        num_levels = 1 if T is None else T + 1
        linear = torch.zeros(num_levels, num_inputs + 1, sum(self.channels))
        linear[:, 0] = 1
        self.linear = nn.Parameter(linear)  # (levels, gains of the inputs then the shift, channels of all groups)
        n = len(self.channels)
        groups = [i for i, c in enumerate(self.channels) if c]
        self.stems = nn.ModuleDict(
            {str(i): nn.Conv2d(num_inputs * self.channels[i], width, 3, padding=1) for i in groups}
        )
        self.heads = nn.ModuleDict({str(i): nn.Conv2d(width, self.channels[i], 3, padding=1) for i in groups})
        for head in self.heads.values():
            for parameter in head.parameters():
                nn.init.zeros_(parameter)
        self.encoder = nn.ModuleList(ResidualBlock(width, embedding) for _ in range(n))
        self.downs = nn.ModuleList(down(width, width) for _ in range(n - 1))
        self.ups = nn.ModuleList(Up(width, width) for _ in range(n - 1))
        self.decoder = nn.ModuleList(ResidualBlock(width, embedding) for _ in range(n))

    def forward(self, *inputs: Latent, t: Tensor | None = None) -> Latent:
        """inputs: latents of the same shapes. t: (N,) levels, where the network was made for several."""
        embedded = self.level(t) if self.level is not None else None
        by_group = dict(zip(self.stems, zip(*inputs, strict=True), strict=True))
        n = len(self.channels)
        h: Tensor | None = None
        skips: list[Tensor] = []
        for i in range(n):
            if h is not None:
                h = self.downs[i - 1](h)
            if str(i) in by_group:
                stem = self.stems[str(i)](torch.cat(by_group[str(i)], 1))
                h = stem if h is None else h + stem
            assert h is not None, "the finest resolution carries a group"
            h = self.encoder[i](h, embedded)
            skips.append(h)
        assert h is not None
        residuals: dict[str, Tensor] = {}
        for i in reversed(range(n)):
            if i < n - 1:
                h = self.ups[i](h) + skips[i]
            h = self.decoder[i](h, embedded)
            if str(i) in self.heads:
                residuals[str(i)] = self.heads[str(i)](h)
        mapped = self._mapped_linearly(inputs, t)
        return tuple(z + residuals[i] for z, i in zip(mapped, by_group, strict=True))

    @torch.no_grad()
    def fit_linear(self, *inputs: Latent, target: Latent, t: int = 0) -> None:
        """Set the linear map of level t to the least squares fit of the target, channel by channel."""
        require_level(t, len(self.linear) - 1)
        fitted = []
        for *parts, wanted in zip(*inputs, target, strict=True):
            seen = torch.stack([*parts, torch.ones_like(wanted)]).transpose(1, 2).flatten(2).double()  # (K, C, samples)
            aim = wanted.transpose(0, 1).flatten(1).double()
            gram = torch.einsum("kcm,lcm->ckl", seen, seen) / aim.shape[1]
            moment = torch.einsum("kcm,cm->ck", seen, aim) / aim.shape[1]
            ridge = 1e-4 * torch.eye(len(seen), dtype=gram.dtype, device=gram.device)
            fitted.append(torch.linalg.solve(gram + ridge, moment).T)
        self.linear[t].copy_(torch.cat(fitted, 1))

    def _mapped_linearly(self, inputs: tuple[Latent, ...], t: Tensor | None) -> Latent:
        level = torch.zeros(1, dtype=torch.long, device=self.linear.device) if t is None else t
        groups = self.linear[level][..., None, None].split([c for c in self.channels if c], dim=2)
        return tuple(
            sum((gain[:, k] * part for k, part in enumerate(parts)), gain[:, -1])
            for gain, parts in zip(groups, zip(*inputs, strict=True), strict=True)
        )
