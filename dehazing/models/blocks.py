"""The pieces that every network is made of. Each acts on (N, C, Y, X)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ChannelNorm(nn.Module):
    """Root-mean-square norm over the channels of each pixel.

    It looks at no neighbour, so a tile and the whole image give the same (a group norm sees the whole image).
    """

    def __init__(self, num_channels: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(num_channels, 1, 1))

    def forward(self, h: Tensor) -> Tensor:
        return h * torch.rsqrt(h.square().mean(1, keepdim=True) + 1e-6) * self.gain


class LevelEmbedding(nn.Module):
    """A learned vector for each level t = 0 … T, for the FiLM of every block."""

    def __init__(self, T: int, width: int):
        super().__init__()
        self.T = T
        self.table = nn.Embedding(T + 1, width)
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, t: Tensor) -> Tensor:
        """(N,) → (N, width). ValueError for a level outside 0 … T, on a CPU: a GPU would have to be waited for."""
        try:
            return self.mlp(self.table(t))
        except IndexError as error:
            raise ValueError(f"Levels must lie in 0 … {self.T}, but got t = {t.tolist()}.") from error


class ResidualBlock(nn.Module):
    """Norm, convolution, FiLM by the level's embedding where there is one, convolution, all added to the input."""

    def __init__(self, num_channels: int, embedding: int = 0):
        super().__init__()
        self.norm = ChannelNorm(num_channels)
        self.first = nn.Conv2d(num_channels, num_channels, 3, padding=1)
        self.film = nn.Linear(embedding, 2 * num_channels) if embedding else None
        self.second = nn.Conv2d(num_channels, num_channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        if self.film is not None:
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, embedded: Tensor | None = None) -> Tensor:
        h = self.first(functional.silu(self.norm(x)))
        if self.film is not None:
            scale, shift = self.film(embedded)[:, :, None, None].chunk(2, dim=1)
            h = h * (1 + scale) + shift
        return x + self.second(functional.silu(h))


def at_least_single(x: Tensor) -> Tensor:
    """In float32 where autocast made it less: what a logarithm, an exponential or a sum of squares is taken of."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def down(num_in: int, num_out: int) -> nn.Module:
    """Halve the resolution."""
    return nn.Conv2d(num_in, num_out, 2, stride=2)


class Up(nn.Module):
    """Double the resolution, without the chequerboard of a transposed convolution."""

    def __init__(self, num_in: int, num_out: int):
        super().__init__()
        self.project = nn.Conv2d(num_in, num_out, 1)

    def forward(self, h: Tensor) -> Tensor:
        return functional.interpolate(self.project(h), scale_factor=2, mode="nearest")


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Reflect the image at its lower and right edge until both sides are multiples, so that any size can be seen."""
    bottom, right = (-side % multiple for side in x.shape[-2:])
    if not bottom and not right:
        return x
    mode = "reflect" if bottom < x.shape[-2] and right < x.shape[-1] else "replicate"
    return functional.pad(x, (0, right, 0, bottom), mode=mode)
