"""The moments of a series' latents at each level, and bringing a latent of the loop to them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

Latent = tuple[Tensor, ...]


class Moments(NamedTuple):
    """Mean and standard deviation of every channel at every level t = 0 … T: tuples of (T + 1, C_i, 1, 1)."""

    mean: Latent
    std: Latent


def moments_of(z: Latent) -> Moments:
    """Those of N fields, z a tuple of (N, T + 1, C_i, h_i, w_i).

    The standard deviation is that within a field (the root mean square over the fields): what one field has, which is
    brought to it; that fields differ in their means is no part of it.
    """
    mean = tuple(group.mean((0, 3, 4))[..., None, None] for group in z)
    std = tuple(group.var((3, 4), correction=0).mean(0).sqrt()[..., None, None] for group in z)
    return Moments(mean, std)


def matched(z: Latent, t: int, moments: Moments) -> Latent:
    """z with the moments of level t: each channel of each sample, (N, C_i, h_i, w_i), by a gain and an offset.

    A channel that does not vary becomes the mean of its level.
    """
    result = []
    for group, mean, std in zip(z, moments.mean, moments.std, strict=True):
        varying = group - group.mean((2, 3), keepdim=True)
        spread = varying.square().mean((2, 3), keepdim=True).sqrt()
        result.append(varying * (std[t] / spread.clamp(min=1e-6)) + mean[t])
    return tuple(result)
