"""Where R and G work: in the latents of an HVAE, or on the images themselves (the control).

An image is the latent of one group, so that the same networks and the same loops serve both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dehazing.data.latents import Latent, encode_series
from dehazing.models.blocks import pad_to_multiple
from dehazing.stages import weights

DOMAINS = ("latents", "pixels")
PIXEL_CHANNELS = (1, 0, 0, 0)  # one group, and three coarser resolutions without
PIXEL_STRIDE = 2 ** (len(PIXEL_CHANNELS) - 1)  # that the sides of images must be multiples of


class Space:
    """E and Dec of one domain, frozen; the pixels' need no network.

    load: how to read a published network. channels: of the groups, as LatentUNet takes them. stride: of the coarsest
    group that it carries, in pixels.
    """

    def __init__(
        self,
        domain: str,
        upstreams: Mapping[str, Path],
        device: str,
        load: Callable[[Path, str], Any] = weights.load,
    ):
        if domain not in DOMAINS:
            raise ValueError(f"`domain` must be latents or pixels, but got {domain!r}.")
        self.domain = domain
        self.hvae: Any = load(upstreams["hvae"], device) if domain == "latents" else None
        self.channels: tuple[int, ...] = PIXEL_CHANNELS if self.hvae is None else tuple(self.hvae.latent_channels)
        self.stride = 1 if self.hvae is None else 2 ** len(self.channels)

    def E(self, x: Tensor) -> Latent:
        """Images (N, 1, Y, X) to latents (Eq. 10, 17)."""
        return (pad_to_multiple(x, PIXEL_STRIDE),) if self.hvae is None else self.hvae.encode(x)

    def Dec(self, z: Latent) -> Tensor:
        """Latents to images (N, 1, Y', X'), padded as E padded them (Eq. 20)."""
        return z[0] if self.hvae is None else self.hvae.decode(z)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Latent:
        """E of every field and level of a split, x (N, L, Y, X); a tuple of (N, L, C_i, h_i, w_i)."""
        return encode_series(self.E, x)


def require_patches(domain: str, patch_px: int) -> None:
    """ValueError for patches that a network in pixels cannot halve."""
    if domain == "pixels" and patch_px % PIXEL_STRIDE:
        raise ValueError(f"In pixels `patch_px` must be a multiple of {PIXEL_STRIDE}, but got {patch_px}.")
