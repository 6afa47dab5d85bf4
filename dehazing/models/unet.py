"""The UNet baseline, R^pixel(x_t, t) of Eq. 3-5."""

from __future__ import annotations

import itertools
from typing import Any

from torch import Tensor, nn

from dehazing.models.blocks import LevelEmbedding, ResidualBlock, Up, down, pad_to_multiple


class UNet(nn.Module):
    """A level-conditioned UNet with residual output: image (N, 1, Y, X) and level (N,) to clean image (N, 1, Y, X).

    base: channels at full resolution, doubled at each of the `depth` halvings. T: the haziest level.
    """

    def __init__(self, T: int, base: int = 16, depth: int = 3, num_blocks: int = 1):
        super().__init__()
        self.T, self.depth = T, depth
        width = 64
        channels = [base * 2**i for i in range(depth + 1)]
        self.level = LevelEmbedding(T, width)
        self.stem = nn.Conv2d(1, base, 3, padding=1)

        def stage(num_channels: int) -> nn.ModuleList:
            return nn.ModuleList(ResidualBlock(num_channels, width) for _ in range(num_blocks))

        self.encoder: Any = nn.ModuleList(stage(c) for c in channels)
        self.downs = nn.ModuleList(down(a, b) for a, b in itertools.pairwise(channels))
        self.ups = nn.ModuleList(Up(b, a) for a, b in itertools.pairwise(channels))
        self.decoder: Any = nn.ModuleList(stage(c) for c in channels[:-1])
        self.head = nn.Conv2d(base, 1, 3, padding=1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        embedded = self.level(t)
        x = pad_to_multiple(x_t, 2**self.depth)
        h, skips = self.stem(x), []
        for i, stage in enumerate(self.encoder):
            for block in stage:
                h = block(h, embedded)
            if i < self.depth:
                skips.append(h)
                h = self.downs[i](h)
        for i in reversed(range(self.depth)):
            h = self.ups[i](h) + skips[i]
            for block in self.decoder[i]:
                h = block(h, embedded)
        x0_hat = x + self.head(h)
        return x0_hat[..., : x_t.shape[-2], : x_t.shape[-1]]
