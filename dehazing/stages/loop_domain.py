"""Where the loop runs: in the latents of an HVAE with R as restorer, or in pixels with the UNet (the control).

An image is the latent of one group, so that the same degrader and the same loops serve both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dehazing.data.latents import Latent, at_level, encode_series
from dehazing.levels import require_level
from dehazing.models.blocks import pad_to_multiple
from dehazing.stages import restorer, weights
from dehazing.stages.lineage import require_latents_of

DOMAINS = ("latents", "pixels")
NEEDS = {"latents": ("hvae", "restorer"), "pixels": ("unet",)}
PIXEL_CHANNELS = (1, 0, 0, 0)  # one group, and three coarser resolutions without


class LoopDomain:
    """E, Dec and R of one domain, frozen.

    load: how to read a published network. channels: of the groups, as LatentUNet takes them. stride: of the coarsest
    group that it carries, in pixels. encoder: what E depends on, folders: all that the domain depends on.
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
        self.folders = tuple(upstreams[role] for role in NEEDS[domain])
        self.encoder = self.folders[:1] if domain == "latents" else ()  # E of the pixels is no network
        if domain == "pixels":
            self.unet = load(upstreams["unet"], device)
            self.channels: tuple[int, ...] = PIXEL_CHANNELS
            self.stride = 1
        else:
            require_latents_of(upstreams["hvae"], {"restorer": upstreams["restorer"]})
            self.hvae = load(upstreams["hvae"], device)
            self.restorer = load(upstreams["restorer"], device)
            self.channels = self.hvae.latent_channels
            self.stride = 2 ** len(self.channels)

    def E(self, x: Tensor) -> Latent:
        """Images (N, 1, Y, X) to latents (Eq. 10, 17)."""
        if self.domain == "pixels":
            return (pad_to_multiple(x, 2 ** (len(PIXEL_CHANNELS) - 1)),)
        return self.hvae.encode(x)

    def Dec(self, z: Latent) -> Tensor:
        """Latents to images (N, 1, Y', X'), padded as E padded them (Eq. 20)."""
        return z[0] if self.domain == "pixels" else self.hvae.decode(z)

    def R(self, z_t: Latent, t: int) -> Latent:
        """z0_hat = R(z_t, t) (Eq. 18)."""
        if self.domain == "pixels":
            require_level(t, self.unet.T)
            return (self.unet(z_t[0], torch.full((len(z_t[0]),), t, device=z_t[0].device)),)
        return restorer.restore(self.restorer, z_t, t)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Latent:
        """E of every field and level of a split, x (N, L, Y, X); a tuple of (N, L, C_i, h_i, w_i)."""
        return encode_series(self.E, x)

    @torch.no_grad()
    def restored(self, z: Latent) -> Latent:
        """R(z_t, t) of every field and every level t = 1 … T; index 0 holds z_0 itself. Shapes as `encode` gives."""
        levels = [at_level(z, 0)]
        for t in range(1, z[0].shape[1]):
            z_t = at_level(z, t)
            per_field = [self.R(tuple(group[i : i + 1] for group in z_t), t) for i in range(len(z_t[0]))]
            levels.append(tuple(torch.cat(group) for group in zip(*per_field, strict=True)))
        return tuple(torch.stack(group, 1) for group in zip(*levels, strict=True))
