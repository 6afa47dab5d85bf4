"""Latents of a whole split, encoded once, and patches cut from them alike in every group."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dehazing.levels import require_level

Latent = tuple[Tensor, ...]


@torch.no_grad()
def encode_series(E: Callable[[Tensor], Latent], x: Tensor) -> Latent:
    """E(x_t) of every field and level: x (N, L, Y, X) to a tuple of (N, L, C_i, h_i, w_i)."""
    per_field = [E(levels[:, None]) for levels in x]
    return tuple(torch.stack(group) for group in zip(*per_field, strict=True))


def crop_latents(latents: list[Latent], num: int, size: int, generator: torch.Generator) -> list[Latent]:
    """The same random crops of several latents of a split, aligned over groups.

    latents: each a tuple of (N, L, C_i, h_i, w_i), the coarsest group last. size: of the crop in the coarsest group.
    Returns each latent as a tuple of (num, L, C_i, k_i size, k_i size), k_i the group's resolution over the coarsest's.
    """
    num_fields, *_, h, w = latents[0][-1].shape
    size_y, size_x = min(size, h), min(size, w)

    def draw(high: int) -> Tensor:
        return torch.randint(high, (num,), generator=generator, device=generator.device)

    field, top, left = draw(num_fields), draw(h - size_y + 1), draw(w - size_x + 1)

    def cut(group: Tensor) -> Tensor:
        k = group.shape[-2] // h
        windows = group.unfold(-2, k * size_y, k).unfold(-2, k * size_x, k)  # a view, (N, L, C, tops, lefts, …)
        return windows[field, ..., top, left, :, :]

    return [tuple(cut(group) for group in latent) for latent in latents]


def at_level(latent: Latent, t: Tensor | int) -> Latent:
    """One level of (N, L, C_i, h_i, w_i): the same for all samples, or one per sample (N,).

    ValueError for a level that the latents do not have.
    """
    if isinstance(t, int):
        require_level(t, latent[0].shape[1] - 1)
        return tuple(group[:, t] for group in latent)
    return tuple(group[torch.arange(len(group), device=group.device), t.to(group.device)] for group in latent)
