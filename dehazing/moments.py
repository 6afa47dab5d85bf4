"""The moments of a series' latents at each level, and bringing a latent of the loop to them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dehazing.levels import require_level

Latent = tuple[Tensor, ...]


class Moments(NamedTuple):
    """Means over the fields of each channel's mean and standard deviation, at the levels t = 0 … T, and how they go
    with those that a field has at T: tuples of (T + 1, C_i, 1, 1).
    """

    mean: Latent
    std: Latent
    mean_slope: Latent  # by how much a field's mean at t is above the mean, for each that it is at T
    std_slope: Latent


def moments_of(z: Latent) -> Moments:
    """Those of N fields, z a tuple of (N, T + 1, C_i, h_i, w_i).

    The standard deviation is that within a field; that fields differ in their means is no part of it. The slopes are
    the best in least squares; with one field they are 0.
    """
    columns = []
    for group in z:
        within = group.var((3, 4), correction=0).sqrt()
        means, slopes = zip(*(_on_the_last(one) for one in (group.mean((3, 4)), within)), strict=True)
        columns.append((*means, *slopes))
    return Moments(*zip(*columns, strict=True))


def matched(z: Latent, t: int, moments: Moments, z_T: Latent | None = None) -> Latent:
    """z with the moments of level t: each channel of each sample, (N, C_i, h_i, w_i), by a gain and an offset.

    z_T: the observations of the same fields; where it is given, each is brought to the moments at level t that its
    own at level T let expect, so that a bright field stays one. A channel that does not vary becomes the mean.
    """
    require_level(t, len(moments.mean[0]) - 1)
    result = []
    for i, group in enumerate(z):
        mean, std = moments.mean[i][t], moments.std[i][t]
        if z_T is not None:
            mean_T, std_T = _moments(z_T[i])
            mean = mean + moments.mean_slope[i][t] * (mean_T - moments.mean[i][-1])
            expected = std + moments.std_slope[i][t] * (std_T - moments.std[i][-1])
            std = torch.maximum(expected, 0.1 * std)  # a line may lead a field far from the others below 0
        centre, spread = _moments(group)
        result.append((group - centre) * (std / spread.clamp(min=1e-6)) + mean)
    return tuple(result)


def _moments(group: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of each sample, (N, C, 1, 1)."""
    mean = group.mean((2, 3), keepdim=True)
    return mean, (group - mean).square().mean((2, 3), keepdim=True).sqrt()


def _on_the_last(values: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over N fields of (N, T + 1, C), and the slope on the last level's: (T + 1, C, 1, 1) each."""
    mean = values.mean(0)
    varying = values - mean
    last = varying[:, -1:]
    slope = (varying * last).sum(0) / last.square().sum(0).clamp(min=1e-12)
    return mean[..., None, None], slope[..., None, None]
