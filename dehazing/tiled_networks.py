"""The networks of the study tile by tile, for images of any size: each gives what it would give the whole image.

Each function returns the call; what the network sees is found out once, when it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dehazing.levels import require_level
from dehazing.models import hdn as posterior
from dehazing.models.blocks import pad_to_multiple
from dehazing.models.hvae import HVAE, Latent
from dehazing.models.nafnet import NAFNet
from dehazing.models.restorer import LatentUNet
from dehazing.models.unet import UNet
from dehazing.tiling import TILE_PX, Tiled

Images = Callable[[Tensor], Tensor]


def one_shot(network: UNet | NAFNet, t: int, tile_px: int = TILE_PX, device: str = "cpu") -> Images:
    """R(x_t, t) of Eq. 5, of UNet or NAFNet, for images (N, 1, Y, X) of any size; ValueError unless 0 <= t <= T."""
    require_level(t, network.T)  # type: ignore[arg-type]

    def call(x: Tensor) -> Latent:
        return (network(x, torch.full((len(x),), t, device=x.device)),)

    tiled = Tiled(call, (1,), (1,), 2**network.depth, tile_px, device=device)
    return lambda x: _cropped(tiled(pad_to_multiple(x, tiled.multiple))[0], x)


def encoder(hvae: HVAE, tile_px: int = TILE_PX, device: str = "cpu") -> Callable[[Tensor], Latent]:
    """E of Eq. 10 for images (N, 1, Y, X) of any size; like `HVAE.encode` it pads them."""
    tiled = Tiled(hvae.encode, (1,), (1,), _multiple(hvae), tile_px, device=device)
    return lambda x: tiled(pad_to_multiple(x, tiled.multiple))


def decoder(hvae: HVAE, tile_px: int = TILE_PX, device: str = "cpu") -> Callable[[Latent], Tensor]:
    """Dec of Eq. 20, to be cropped like `HVAE.decode`."""

    def call(*z: Tensor) -> Latent:
        return (hvae.decode(z),)

    tiled = Tiled(call, hvae.latent_channels, _strides(hvae.latent_channels), _multiple(hvae), tile_px, device=device)
    return lambda z: tiled(*z)[0]


def autoencoder(hvae: HVAE, tile_px: int = TILE_PX, device: str = "cpu") -> Images:
    """Dec(E(x)) for images (N, 1, Y, X) of any size: two calls, with the latents held whole between them."""
    E, Dec = encoder(hvae, tile_px, device), decoder(hvae, tile_px, device)
    return lambda x: _cropped(Dec(E(x)), x)


def restorer(network: LatentUNet, t: int, tile_px: int = TILE_PX, device: str = "cpu") -> Callable[[Latent], Latent]:
    """R(z_t, t) of Eq. 11 for latents of any size, as `encoder` gives them; ValueError for a level outside 0 … T.

    An R in pixels takes the image as its only group, (N, 1, Y, X), with sides that its resolutions halve.
    """
    if network.T is not None:
        require_level(t, network.T)

    def call(*z: Tensor) -> Latent:
        return network(z, t=torch.full((len(z[0]),), t, device=z[0].device))

    if 0 in network.channels:  # in pixels: one group at full size, and coarser resolutions without
        tiled = Tiled(call, network.channels[:1], (1,), 2 ** (len(network.channels) - 1), tile_px, device=device)
    else:
        strides = _strides(network.channels)
        tiled = Tiled(call, network.channels, strides, strides[-1], tile_px, device=device)
    return lambda z: tiled(*z)


def hdn(
    network: HVAE, num_samples: int, tile_px: int = TILE_PX, device: str = "cpu"
) -> Callable[[Tensor, torch.Generator], Tensor]:
    """The mean of posterior samples for images (N, 1, Y, X) of any size.

    Tiles that draw for themselves would disagree where they meet. So the numbers of each sample are drawn for the
    whole image, as `models.hdn.sample` draws them, and cut like the image: with the same seed it is the same mean.
    """

    def call(x: Tensor, *noise: Tensor) -> Latent:
        return (network.sample(x, len(noise[0]) // len(x), noise),)

    channels, strides = (1, *network.latent_channels), (1, *_strides(network.latent_channels))
    tiled = Tiled(call, channels, strides, _multiple(network), tile_px, device=device)

    def mean(x: Tensor, generator: torch.Generator) -> Tensor:
        padded, total = pad_to_multiple(x, tiled.multiple), torch.zeros_like(x)
        for noise in posterior.noises(network, x, num_samples, generator):
            total += _cropped(tiled(padded, *noise)[0], x).sum(0)
        return total / num_samples

    return mean


def _cropped(padded: Tensor, x: Tensor) -> Tensor:
    return padded[..., : x.shape[-2], : x.shape[-1]]


def _strides(channels: Sequence[int]) -> tuple[int, ...]:
    return tuple(2**i for i in range(1, len(channels) + 1))


def _multiple(hvae: HVAE) -> int:
    return 2 ** len(hvae.latent_channels)
