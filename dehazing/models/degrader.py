"""G, F, D_X and D_Y of Eq. 13-16: operators between restored latents X_t and the next less hazy latents Y_t."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from dehazing.levels import require_level
from dehazing.models.blocks import at_least_single
from dehazing.models.restorer import LatentUNet

Latent = tuple[Tensor, ...]
FAST, MAY_MISS = 8, 1 / 8  # on a CPU a step takes twice as long at width 17, 18 or 20 as at 16


class Operator(nn.Module):
    """One of G or F: a latent to the latent of the level s, per step (a network for each s) or shared (FiLM by s).

    channels: of the latent groups. T: levels s = 1 … T. anchored: sees a second latent (z_T, or z_t) beside its input.
    """

    def __init__(self, channels: Sequence[int], width: int, T: int, shared: bool, anchored: bool):
        super().__init__()
        self.shared, self.T = shared, T
        self.anchored = anchored
        num_inputs = 2 if anchored else 1
        if shared:
            self.networks: Any = nn.ModuleList([LatentUNet(channels, width, T, num_inputs)])
        else:
            self.networks = nn.ModuleList(LatentUNet(channels, width, None, num_inputs) for _ in range(T))

    def forward(self, z: Latent, s: int, anchor: Latent | None = None) -> Latent:
        """G^(s+1)(z) of Eq. 14 and 19. An anchored operator needs the anchor; a blind one is given none."""
        require_level(s, self.T, lowest=1, name="s")
        inputs = self._inputs(z, anchor)
        if self.shared:
            t = torch.full((len(z[0]),), s, device=z[0].device)
            return self.networks[0](*inputs, t=t)
        return self.networks[s - 1](*inputs)

    def fit_linear(self, z: Latent, s: int, anchor: Latent | None, target: Latent) -> None:
        """Start the operator to level s as the least squares fit of the target, channel by channel."""
        require_level(s, self.T, lowest=1, name="s")
        network, t = (self.networks[0], s) if self.shared else (self.networks[s - 1], 0)
        network.fit_linear(*self._inputs(z, anchor), target=target, t=t)

    def _inputs(self, z: Latent, anchor: Latent | None) -> tuple[Latent, ...]:
        if not self.anchored:
            return (z,)
        if anchor is None:
            raise ValueError("An anchored degrader needs the latent that it is anchored on, but got none.")
        return z, anchor


class Discriminator(nn.Module):
    """D_X or D_Y for the levels 1 … T: patch scores per latent group, spectral norm on each convolution."""

    def __init__(self, channels: Sequence[int], width: int, T: int, shared: bool):
        super().__init__()
        self.shared = shared
        self.T = T
        num_levels = T if shared else 0
        self.heads: Any = nn.ModuleList(
            nn.ModuleList(_patch_head(c + num_levels, width) for c in channels if c) for _ in range(1 if shared else T)
        )

    def forward(self, z: Latent, s: int) -> list[Tensor]:
        """Scores of each group, (N, 1, h_i, w_i); 1 is real. A shared one is told the level by constant channels."""
        require_level(s, self.T, lowest=1, name="s")
        if not self.shared:
            return [at_least_single(head(z_i)) for head, z_i in zip(self.heads[s - 1], z, strict=True)]
        level = (torch.arange(1, self.T + 1, device=z[0].device) == s).to(z[0].dtype)[None, :, None, None]
        told = (torch.cat([z_i, level.expand(len(z_i), -1, *z_i.shape[-2:])], 1) for z_i in z)
        return [at_least_single(head(z_i)) for head, z_i in zip(self.heads[0], told, strict=True)]


class NormedConv(nn.Conv2d):
    """A convolution whose parametrised weight is computed in float32, whatever autocast makes of the convolution."""

    def forward(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            weight = self.weight
        return self._conv_forward(z, weight, self.bias)


def _patch_head(num_channels: int, width: int) -> nn.Sequential:
    def conv(num_in: int, num_out: int, size: int) -> nn.Module:
        return parametrizations.spectral_norm(NormedConv(num_in, num_out, size, padding=size // 2))

    return nn.Sequential(
        conv(num_channels, width, 3), nn.LeakyReLU(0.2), conv(width, width, 3), nn.LeakyReLU(0.2), conv(width, 1, 1)
    )


def num_parameters(network: nn.Module) -> int:
    """How many numbers a network has learned."""
    return sum(parameter.numel() for parameter in network.parameters())


def width_for(num: int, channels: Sequence[int], T: int, shared: bool, anchored: bool) -> int:
    """The width of the Operator whose number of parameters, all its steps together, is nearest to `num`.

    A multiple of FAST is taken where it misses by no more than MAY_MISS.
    """

    def size(width: int) -> int:
        with torch.device("meta"):  # counted without being made
            return num_parameters(Operator(channels, width, T, shared, anchored))

    def missed(width: int) -> int:
        return abs(size(width) - num)

    high = 1
    while size(high) < num:
        high *= 2
    low = high // 2  # 0, which is no width, where even 1 is too large
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle) < num else (low, middle)
    nearest = min(range(max(low, 1), high + 1), key=missed)
    fast = min((width for width in (nearest // FAST * FAST, -(-nearest // FAST) * FAST) if width), key=missed)
    return fast if missed(fast) <= MAY_MISS * num else nearest
