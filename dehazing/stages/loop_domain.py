"""Where the loop runs: a space, and the R that was trained in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from dehazing.data.latents import Latent, at_level
from dehazing.stages import restorer, weights
from dehazing.stages.lineage import require_latents_of
from dehazing.stages.space import Space

NEEDS = {"latents": ("hvae", "restorer"), "pixels": ("restorer_pixels",)}


class LoopDomain(Space):
    """E, Dec and R of one domain, frozen.

    load: how to read a published network. encoder: what E depends on, folders: all that the domain depends on.
    """

    def __init__(
        self,
        domain: str,
        upstreams: Mapping[str, Path],
        device: str,
        load: Callable[[Path, str], Any] = weights.load,
    ):
        if domain == "latents":  # before anything is loaded
            require_latents_of(upstreams["hvae"], {"restorer": upstreams["restorer"]})
        super().__init__(domain, upstreams, device, load)
        self.folders = tuple(upstreams[role] for role in NEEDS[domain])
        self.encoder = self.folders[:-1]  # E of the pixels is no network
        self.restorer = load(self.folders[-1], device)
        if tuple(self.restorer.channels) != self.channels:
            raise ValueError(
                f"R must have been trained in these {domain}, with groups of {self.channels} channels, but has "
                f"{self.restorer.channels}."
            )

    def R(self, z_t: Latent, t: int) -> Latent:
        """z0_hat = R(z_t, t) (Eq. 18)."""
        return restorer.restore(self.restorer, z_t, t)

    @torch.no_grad()
    def restored(self, z: Latent) -> Latent:
        """R(z_t, t) of every field and every level t = 1 … T; index 0 holds z_0 itself. Shapes as `encode` gives."""
        levels = [at_level(z, 0)]
        for t in range(1, z[0].shape[1]):
            z_t = at_level(z, t)
            per_field = [self.R(tuple(group[i : i + 1] for group in z_t), t) for i in range(len(z_t[0]))]
            levels.append(tuple(torch.cat(group) for group in zip(*per_field, strict=True)))
        return tuple(torch.stack(group, 1) for group in zip(*levels, strict=True))
