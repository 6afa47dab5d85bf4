"""The networks of the study tile by tile, for images of any size: each gives what it would give the whole image.

Each function returns the call; what the network sees is found out once, when it is made. on_tile: of `Tiled`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from dehazing.levels import require_level
from dehazing.models import hdn as posterior
from dehazing.models.blocks import pad_to_multiple
from dehazing.models.degrader import Operator
from dehazing.models.hvae import HVAE, Latent
from dehazing.models.nafnet import NAFNet
from dehazing.models.restorer import LatentUNet
from dehazing.models.unet import UNet
from dehazing.tiling import TILE_PX, Tiled

Images = Callable[[Tensor], Tensor]
OnTile = Callable[[], None] | None


def one_shot(
    network: UNet | NAFNet, t: int, tile_px: int = TILE_PX, device: str = "cpu", on_tile: OnTile = None
) -> Images:
    """R(x_t, t) of Eq. 5, of UNet or NAFNet, for images (N, 1, Y, X) of any size; ValueError unless 0 <= t <= T."""
    require_level(t, network.T)  # type: ignore[arg-type]

    def call(x: Tensor) -> Latent:
        return (network(x, torch.full((len(x),), t, device=x.device)),)

    tiled = Tiled(call, (1,), (1,), 2**network.depth, tile_px, device=device, on_tile=on_tile)
    return lambda x: _cropped(tiled(pad_to_multiple(x, tiled.multiple))[0], x)


def encoder(
    hvae: HVAE, tile_px: int = TILE_PX, device: str = "cpu", on_tile: OnTile = None
) -> Callable[[Tensor], Latent]:
    """E of Eq. 10 for images (N, 1, Y, X) of any size; like `HVAE.encode` it pads them."""
    tiled = Tiled(hvae.encode, (1,), (1,), _multiple(hvae), tile_px, device=device, on_tile=on_tile)
    return lambda x: tiled(pad_to_multiple(x, tiled.multiple))


def decoder(
    hvae: HVAE, tile_px: int = TILE_PX, device: str = "cpu", on_tile: OnTile = None
) -> Callable[[Latent], Tensor]:
    """Dec of Eq. 20, to be cropped like `HVAE.decode`."""

    def call(*z: Tensor) -> Latent:
        return (hvae.decode(z),)

    channels, strides = hvae.latent_channels, _strides(hvae.latent_channels)
    tiled = Tiled(call, channels, strides, _multiple(hvae), tile_px, device=device, on_tile=on_tile)
    return lambda z: tiled(*z)[0]


def autoencoder(hvae: HVAE, tile_px: int = TILE_PX, device: str = "cpu") -> Images:
    """Dec(E(x)) for images (N, 1, Y, X) of any size: two calls, with the latents held whole between them."""
    E, Dec = encoder(hvae, tile_px, device), decoder(hvae, tile_px, device)
    return lambda x: _cropped(Dec(E(x)), x)


def restorer(
    network: LatentUNet, t: int, tile_px: int = TILE_PX, device: str = "cpu", on_tile: OnTile = None
) -> Callable[[Latent], Latent]:
    """R(z_t, t) of Eq. 11 for latents of any size, as `encoder` gives them; ValueError for a level outside 0 … T.

    An R in pixels takes the image as its only group, (N, 1, Y, X), with sides that its resolutions halve.
    """
    if network.T is not None:
        require_level(t, network.T)

    def call(*z: Tensor) -> Latent:
        return network(z, t=torch.full((len(z[0]),), t, device=z[0].device))

    channels, strides, multiple = _groups(network)
    tiled = Tiled(call, channels, strides, multiple, tile_px, device=device, on_tile=on_tile)
    return lambda z: tiled(*z)


def degrader(
    G: Operator, s: int, tile_px: int = TILE_PX, device: str = "cpu", on_tile: OnTile = None
) -> Callable[..., Latent]:
    """G(z0_hat, s) of Eq. 19, or G(z0_hat, s, anchor) where it is anchored, for latents as `restorer` takes them."""
    channels, strides, multiple = _groups(G.networks[0 if G.shared else s - 1])
    num_groups, num_inputs = len(channels), 2 if G.anchored else 1

    def call(*z: Tensor) -> Latent:
        return G(z[:num_groups], s, z[num_groups:] or None)

    tiled = Tiled(call, channels * num_inputs, strides * num_inputs, multiple, tile_px, device=device, on_tile=on_tile)

    def degraded(z: Latent, anchor: Latent | None = None) -> Latent:
        if G.anchored and anchor is None:
            raise ValueError("An anchored degrader needs the latent that it is anchored on, but got none.")
        return tiled(*z, *(anchor or ()))

    return degraded


def hdn(
    network: HVAE, num_samples: int, tile_px: int = TILE_PX, device: str = "cpu", on_tile: OnTile = None
) -> Callable[[Tensor, torch.Generator], Tensor]:
    """The mean of posterior samples for images (N, 1, Y, X) of any size; the same as of whole images."""
    samples = hdn_samples(network, num_samples, tile_px, device, on_tile)

    def mean(x: Tensor, generator: torch.Generator) -> Tensor:
        total = torch.zeros_like(x)
        for drawn in samples(x, generator):
            total += drawn.sum(0)
        return total / num_samples

    return mean


def hdn_samples(
    network: HVAE, num_samples: int, tile_px: int = TILE_PX, device: str = "cpu", on_tile: OnTile = None
) -> Callable[[Tensor, torch.Generator], Iterator[Tensor]]:
    """Posterior samples for images (N, 1, Y, X) of any size, some at a time: (samples, N, 1, Y, X) each.

    Tiles that draw for themselves would disagree where they meet. So the numbers of each sample are drawn for the
    whole image, as `models.hdn.sample` draws them, and cut like the image: with the same seed they are the same.
    """

    def call(x: Tensor, *noise: Tensor) -> Latent:
        return (network.sample(x, len(noise[0]) // len(x), noise),)

    channels, strides = (1, *network.latent_channels), (1, *_strides(network.latent_channels))
    tiled = Tiled(call, channels, strides, _multiple(network), tile_px, device=device, on_tile=on_tile)

    def samples(x: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        padded = pad_to_multiple(x, tiled.multiple)
        for noise in posterior.noises(network, x, num_samples, generator):
            yield _cropped(tiled(padded, *noise)[0], x)

    return samples


def _groups(network: LatentUNet) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Channels and strides of the groups that a network takes, and what the sides must be multiples of."""
    if 0 in network.channels:  # in pixels: one group at full size, and coarser resolutions without
        return network.channels[:1], (1,), 2 ** (len(network.channels) - 1)
    strides = _strides(network.channels)
    return network.channels, strides, strides[-1]


def _cropped(padded: Tensor, x: Tensor) -> Tensor:
    return padded[..., : x.shape[-2], : x.shape[-1]]


def _strides(channels: Sequence[int]) -> tuple[int, ...]:
    return tuple(2**i for i in range(1, len(channels) + 1))


def _multiple(hvae: HVAE) -> int:
    return 2 ** len(hvae.latent_channels)
