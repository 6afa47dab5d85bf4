"""NAFNet (Chen et al., ECCV 2022, arXiv 2204.04676) with local pooling: the stronger one-shot baseline R^pixel(x_t, t).

Its channel attention averages over the whole image, so a patch in training, a field at test and a tile of it would all
see other statistics (Chu et al., arXiv 2112.04491, who make the average local at test). Here it is local always: over
a window of cells, the pixels of the coarsest resolution, with reflected borders. Then patches see what fields see, and
what the network sees is bounded.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dehazing.models.blocks import LevelEmbedding, down, pad_to_multiple


class LayerNorm(nn.Module):
    """Layer norm over the channels of each pixel: no pixel sees another one."""

    def __init__(self, num_channels: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, h: Tensor) -> Tensor:
        normed = functional.layer_norm(h.permute(0, 2, 3, 1), self.gain.shape, self.gain, self.bias, 1e-6)
        return normed.permute(0, 3, 1, 2)


class SimpleGate(nn.Module):
    """The product of the two halves of the channels, which stands where other networks have a nonlinearity."""

    def forward(self, h: Tensor) -> Tensor:
        a, b = h.chunk(2, dim=1)
        return a * b


class LocalAttention(nn.Module):
    """Simplified channel attention: each channel times a linear map of the channels' means in the window about it.

    cell: side of a cell in pixels of this resolution, which divides the sides. window: odd, in cells.
    """

    def __init__(self, num_channels: int, cell: int, window: int):
        super().__init__()
        self.cell, self.window = cell, window
        self.mix = nn.Conv2d(num_channels, num_channels, 1)

    def forward(self, h: Tensor) -> Tensor:
        means = functional.avg_pool2d(h, self.cell) if self.cell > 1 else h
        means = functional.avg_pool2d(_reflected(means, self.window // 2), self.window, stride=1)
        factors = self.mix(means)
        if self.cell > 1:
            factors = functional.interpolate(factors, scale_factor=self.cell, mode="bilinear")
        return h * factors


class NAFBlock(nn.Module):
    """Two residual halves without activation functions: depthwise convolution and attention, then a gated 1 x 1 pair.

    Each is normed, modulated by the level's embedding (FiLM), and scaled by `beta` or `gamma`, which start at 0.
    """

    def __init__(self, num_channels: int, embedding: int, cell: int, window: int):
        super().__init__()
        self.norms = nn.ModuleList(LayerNorm(num_channels) for _ in range(2))
        self.film = nn.Linear(embedding, 4 * num_channels)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)
        self.spatial = nn.Sequential(
            nn.Conv2d(num_channels, 2 * num_channels, 1),
            nn.Conv2d(2 * num_channels, 2 * num_channels, 3, padding=1, groups=2 * num_channels),
            SimpleGate(),
            LocalAttention(num_channels, cell, window),
            nn.Conv2d(num_channels, num_channels, 1),
        )
        self.pointwise = nn.Sequential(
            nn.Conv2d(num_channels, 2 * num_channels, 1),
            SimpleGate(),
            nn.Conv2d(num_channels, num_channels, 1),
        )
        self.beta, self.gamma = (nn.Parameter(torch.zeros(num_channels, 1, 1)) for _ in range(2))

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        scale_1, shift_1, scale_2, shift_2 = self.film(embedded)[:, :, None, None].chunk(4, dim=1)
        y = x + self.beta * self.spatial(self.norms[0](x) * (1 + scale_1) + shift_1)
        return y + self.gamma * self.pointwise(self.norms[1](y) * (1 + scale_2) + shift_2)


class NAFNet(nn.Module):
    """A level-conditioned NAFNet with residual output: image (N, 1, Y, X) and level (N,) to clean image (N, 1, Y, X).

    width: channels at full resolution, doubled at each of the `depth` halvings. num_blocks: on either side at each
    resolution but the coarsest, num_middle: there. window: side of what attention averages over, odd, in cells of
    2^depth pixels. T: the haziest level.
    """

    def __init__(
        self, T: int, width: int = 16, depth: int = 3, num_blocks: int = 1, num_middle: int = 3, window: int = 5
    ):
        super().__init__()
        self.T, self.depth = T, depth
        embedding = 64
        channels = [width * 2**i for i in range(depth + 1)]
        self.level = LevelEmbedding(T, embedding)
        self.stem = nn.Conv2d(1, width, 3, padding=1)

        def stage(i: int, num: int) -> nn.ModuleList:
            return nn.ModuleList(NAFBlock(channels[i], embedding, 2 ** (depth - i), window) for _ in range(num))

        self.encoder: Any = nn.ModuleList(stage(i, num_blocks) for i in range(depth))
        self.downs = nn.ModuleList(down(a, b) for a, b in itertools.pairwise(channels))
        self.middle: Any = stage(depth, num_middle)
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(b, 4 * a, 1, bias=False), nn.PixelShuffle(2))
            for a, b in itertools.pairwise(channels)
        )
        self.decoder: Any = nn.ModuleList(stage(i, num_blocks) for i in range(depth))
        self.head = nn.Conv2d(width, 1, 3, padding=1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        embedded = self.level(t)
        x = pad_to_multiple(x_t, 2**self.depth)
        h, skips = self.stem(x), []
        for i in range(self.depth):
            for block in self.encoder[i]:
                h = block(h, embedded)
            skips.append(h)
            h = self.downs[i](h)
        for block in self.middle:
            h = block(h, embedded)
        for i in reversed(range(self.depth)):
            h = self.ups[i](h) + skips[i]
            for block in self.decoder[i]:
                h = block(h, embedded)
        x0_hat = x + self.head(h)
        return x0_hat[..., : x_t.shape[-2], : x_t.shape[-1]]


def _reflected(h: Tensor, margin: int) -> Tensor:
    """With a margin on every side; the edge is repeated where the image is too small to be reflected."""
    if not margin:
        return h
    if margin >= min(h.shape[-2:]):
        return functional.pad(h, (margin,) * 4, mode="replicate")
    for axis in (
        -2,
        -1,
    ):  # by parts: on a GPU, the gradient of torch's own reflection does not repeat itself to the bit
        before, after = h.narrow(axis, 1, margin), h.narrow(axis, h.shape[axis] - 1 - margin, margin)
        h = torch.cat([before.flip(axis), h, after.flip(axis)], axis)
    return h
