"""A multi-resolution UNet over latent groups: R of Eq. 11, and the body of G and F of Eq. 14."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dehazing.models.blocks import LevelEmbedding, ResidualBlock, Up, down

Latent = tuple[Tensor, ...]


class LatentUNet(nn.Module):
    """Latent tuples in, one latent tuple out: the first input plus a predicted residual, conditioned on a level.

    channels: C_1 … C_n of the groups, finest first, each half the resolution of the one before; 0 for a resolution
    without a group, so that an image is the latent (1, 0, 0, …). num_inputs: how many latents are concatenated per
    group (a prediction and its anchor). T: the haziest level; None for a network that belongs to one level alone.
    """

    def __init__(self, channels: Sequence[int], width: int = 32, T: int | None = None, num_inputs: int = 1):
        super().__init__()
        self.channels = tuple(channels)
        embedding = 64 if T is not None else 0
        self.level = LevelEmbedding(T, embedding) if T is not None else None
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
        return tuple(by_group[i][0] + residuals[i] for i in by_group)
