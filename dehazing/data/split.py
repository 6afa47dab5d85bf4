"""Training, validation and test: by field of view, or disjoint regions where there are too few of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dehazing.data.series import SPLITS

PATCH_PX = 64  # the smallest image that the stages train on
TILE_STEP_PX = 16  # models halve an image four times
MAX_TILE_PX = 256
ENOUGH_TILES = 8


@dataclass(frozen=True)
class Fractions:
    """Shares of the three splits."""

    train: float = 0.6
    validation: float = 0.2
    test: float = 0.2

    def __post_init__(self) -> None:
        shares = (self.train, self.validation, self.test)
        if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-3:
            raise ValueError(f"The shares of `split` must be positive and sum to 1, but are {list(shares)}.")


def split_fields(names: list[str], fractions: Fractions, seed: int = 0) -> dict[str, str]:
    """Name of a field of view → split, shuffled by `seed`; every split gets at least one of three or more."""
    if len(names) < 3:
        raise ValueError(f"A split by field of view needs at least three of them, but got {len(names)}.")
    num_validation = max(1, round(fractions.validation * len(names)))
    num_test = max(1, round(fractions.test * len(names)))
    while num_validation + num_test >= len(names):
        num_validation, num_test = max(1, num_validation - 1), max(1, num_test - 1)
    shuffled = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    splits = ["validation"] * num_validation + ["test"] * num_test
    splits += ["train"] * (len(names) - len(splits))
    return dict(zip(shuffled, splits, strict=True))


def regions(
    shape: tuple[int, int], fractions: Fractions, guard_px: int, minimum_px: int = PATCH_PX
) -> dict[str, tuple[slice, slice]]:
    """Three strips across the longer axis of a field (Y, X), `guard_px` between them, none shorter than the minimum.

    ValueError where the field is too small for that.
    """
    axis = int(np.argmax(shape))
    length = shape[axis] - 2 * guard_px
    if min(shape) < minimum_px or length < 3 * minimum_px:
        raise ValueError(
            f"One field of view must measure at least {minimum_px} x {3 * minimum_px + 2 * guard_px} px to be "
            f"divided into three regions of {minimum_px} px with guard bands of {guard_px} px, but measures "
            f"{min(shape)} x {max(shape)} px."
        )
    sizes = {split: max(minimum_px, int(getattr(fractions, split) * length)) for split in SPLITS[1:]}
    sizes["train"] = length - sum(sizes.values())
    while sizes["train"] < minimum_px:
        largest = max(sizes, key=lambda split: sizes[split])
        sizes[largest] -= 1
        sizes["train"] += 1
    found, start = {}, 0
    for split in SPLITS:
        strip = slice(start, start + sizes[split])
        found[split] = (strip, slice(0, shape[1])) if axis == 0 else (slice(0, shape[0]), strip)
        start += sizes[split] + guard_px
    return found


def tile_side(shape: tuple[int, int], enough: int = ENOUGH_TILES) -> int:
    """The largest multiple of 16 from 64 to 256 px of which `enough` tiles fit into a region (Y, X), else 64."""
    for side in range(MAX_TILE_PX, PATCH_PX, -TILE_STEP_PX):
        if (shape[0] // side) * (shape[1] // side) >= enough:
            return side
    return PATCH_PX


def tiles(region: tuple[slice, slice], side: int) -> list[tuple[slice, slice]]:
    """The equal square tiles that fit into a region, centred in it, in reading order."""
    height, width = (axis.stop - axis.start for axis in region)
    num_y, num_x = height // side, width // side
    y_0 = region[0].start + (height - num_y * side) // 2
    x_0 = region[1].start + (width - num_x * side) // 2
    return [
        (slice(y_0 + j * side, y_0 + (j + 1) * side), slice(x_0 + i * side, x_0 + (i + 1) * side))
        for j in range(num_y)
        for i in range(num_x)
    ]
