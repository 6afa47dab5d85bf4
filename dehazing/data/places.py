"""Where in a confocal stack the fields of a simulated series lie: never twice the same place, splits apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dehazing.data.series import SPLITS
from dehazing.data.split import Fractions, regions, tiles

APART_UM = 1.0  # between the focal planes of fields that share a tile: what is in focus in one is blurred in the next
STEP_PX = 16  # sizes that models halve four times


@dataclass(frozen=True)
class Place:
    """One field: its split and number in it, the focal plane, and its first row and column in the stack."""

    split: str
    index: int
    focus: int
    y: int
    x: int


def places_in_stack(
    shape: tuple[int, int, int],
    num_fields: Mapping[str, int],
    field_px: int,
    guard_px: int,
    dz_um: float,
    seed: int,
) -> tuple[list[Place], list[str]]:
    """Places in a stack (Z, Y, X), drawn without replacement, and notes on what did not fit.

    Every split has a region of its own, `guard_px` (or as much as fits) from the next; its places are the tiles of
    the region at focal planes `APART_UM` apart in the middle half of the stack. Where a split asks for more fields
    than it has places, all splits shrink in proportion, to one at least. ValueError where `field_px` does not fit.
    """
    num_z, num_y, num_x = shape
    largest = min(num_y, num_x, max(num_y, num_x) // 3)
    if field_px > largest:
        rounded = largest // STEP_PX * STEP_PX or largest
        raise ValueError(
            f"`field_px` must be at most {rounded} so that a stack of {num_y} x {num_x} px holds three regions that "
            f"share nothing, but is {field_px}."
        )
    guard = min(guard_px, (max(num_y, num_x) - 3 * field_px) // 2)
    notes = []
    if guard < guard_px:
        notes.append(f"The stack leaves {guard} px between the regions of the splits, less than `pad_px` = {guard_px}.")
    found = regions((num_y, num_x), Fractions(), guard, minimum_px=field_px)
    step = math.ceil(APART_UM / dz_um - 1e-9)
    planes = range(num_z // 4, max(num_z // 4 + 1, num_z - num_z // 4), step)
    grid = {
        split: [(plane, y.start, x.start) for plane in planes for y, x in tiles(found[split], field_px)]
        for split in SPLITS
    }
    share = min(1.0, *(len(grid[split]) / num_fields[split] for split in SPLITS))
    nums = {split: max(1, int(share * num_fields[split] + 1e-9)) for split in SPLITS}
    if share < 1:
        asked, taken = ("/".join(str(num[split]) for split in SPLITS) for num in (num_fields, nums))
        notes.append(
            f"The stack holds {taken} fields ({'/'.join(SPLITS)}) of {field_px} px that overlap nowhere at planes "
            f"{APART_UM:g} µm apart, fewer than the {asked} of `num_fields`: {taken} are taken."
        )
    places = []
    for number, split in enumerate(SPLITS):
        drawn = np.random.default_rng([seed, number]).permutation(len(grid[split]))[: nums[split]]
        places += [Place(split, index, *grid[split][place]) for index, place in enumerate(drawn)]
    return places, notes
