"""Random patches of a split, turned and mirrored: every orientation of a field of view is as likely.

All is drawn and cut on the device where images and generator are, and nothing there is waited for.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Places(NamedTuple):
    """Where patches lie, (num,) each: the field, the upper left corner, quarter turns, and 1 for a mirrored one."""

    field: Tensor
    y: Tensor
    x: Tensor
    turns: Tensor
    mirrored: Tensor


def draw_places(images: Tensor, num: int, patch_px: int, generator: torch.Generator) -> Places:
    """Places of `num` patches in `images` (N, L, Y, X), all as likely; ValueError where an image is smaller."""
    num_fields, _, num_y, num_x = images.shape
    if min(num_y, num_x) < patch_px:
        raise ValueError(f"Images must be at least a patch ({patch_px} px) wide, but are {num_y} x {num_x} px.")

    def draw(high: int) -> Tensor:
        return torch.randint(high, (num,), generator=generator, device=generator.device)

    return Places(draw(num_fields), draw(num_y - patch_px + 1), draw(num_x - patch_px + 1), draw(4), draw(2))


def cut(images: Tensor, places: Places, patch_px: int, levels: Tensor | None = None) -> Tensor:
    """The patches of `images` (N, L, Y, X) at the places, (num, K, patch, patch); the levels of a patch stay aligned.

    levels: (num, K), those that are wanted of each patch; without it, all of them.
    """
    if levels is None:
        levels = torch.arange(images.shape[1], device=images.device)[None]
    windows = images.unfold(2, patch_px, 1).unfold(3, patch_px, 1)  # a view, (N, L, corners in Y, in X, patch, patch)
    patches = windows[places.field[:, None], levels, places.y[:, None], places.x[:, None]]
    turns, mirrored = (drawn[:, None, None, None] for drawn in (places.turns, places.mirrored))
    # k quarter turns are a transposition where k is odd, and then these two reflections
    patches = torch.where(turns % 2 == 1, patches.transpose(-2, -1), patches)
    patches = torch.where((turns == 1) | (turns == 2), patches.flip(-2), patches)
    return torch.where((turns >= 2) ^ (mirrored == 1), patches.flip(-1), patches)


def random_patches(images: Tensor, num: int, patch_px: int, generator: torch.Generator) -> Tensor:
    """`num` patches of all levels of `images` (N, L, Y, X), (num, L, patch, patch); ValueError as `draw_places`."""
    return cut(images, draw_places(images, num, patch_px, generator), patch_px)
