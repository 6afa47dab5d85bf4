"""Geometric averaging at test time: the mean of what a method makes of an image in its eight orientations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

TURNED = "_turned"  # the end of such a method's name in the tables


def averaged_over_turns(restore: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The mean of turn⁻¹(restore(turn(x))) over four turns of the images (N, Y, X) and of their mirror images."""
    total = torch.zeros_like(x)
    for mirrored in (False, True):
        image = x.flip(-1) if mirrored else x
        for num_turns in range(4):
            restored = torch.rot90(restore(torch.rot90(image, num_turns, (-2, -1))), -num_turns, (-2, -1))
            total += restored.flip(-1) if mirrored else restored
    return total / 8
