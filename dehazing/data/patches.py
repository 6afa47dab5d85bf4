"""Random patches of a split, turned and mirrored: every orientation of a field of view is as likely."""

from __future__ import annotations

import torch
from torch import Tensor


def random_patches(images: Tensor, num: int, patch_px: int, generator: torch.Generator) -> Tensor:
    """`num` patches of `images` (N, L, Y, X), as (num, L, patch, patch); the levels of a patch stay aligned.

    ValueError where an image is smaller than the patch.
    """
    return aligned_patches((images,), num, patch_px, generator)[0]


def aligned_patches(
    tensors: tuple[Tensor, ...], num: int, patch_px: int, generator: torch.Generator
) -> tuple[Tensor, ...]:
    """The very same patches of several tensors (N, L_i, Y, X), each as (num, L_i, patch, patch)."""
    num_fields, _, num_y, num_x = tensors[0].shape
    if min(num_y, num_x) < patch_px:
        raise ValueError(f"Images must be at least a patch ({patch_px} px) wide, but are {num_y} x {num_x} px.")
    assert all((tensor.shape[0], *tensor.shape[2:]) == (num_fields, num_y, num_x) for tensor in tensors)

    def draw(high: int) -> list[int]:
        return torch.randint(high, (num,), generator=generator).tolist()

    places = zip(
        draw(num_fields), draw(num_y - patch_px + 1), draw(num_x - patch_px + 1), draw(4), draw(2), strict=True
    )
    cuts = list(places)

    def cut(tensor: Tensor) -> Tensor:
        patches = []
        for field, y, x, turns, mirrored in cuts:
            patch = tensor[field, :, y : y + patch_px, x : x + patch_px]
            patch = torch.rot90(patch, turns, (-2, -1))
            patches.append(patch.flip(-1) if mirrored else patch)
        return torch.stack(patches)

    return tuple(cut(tensor) for tensor in tensors)
