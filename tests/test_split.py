"""Splits never share a pixel, and regions of one field keep their distance."""

import numpy as np
import pytest

from dehazing.data.split import Fractions, regions, split_fields, tile_side, tiles


def test_every_field_of_view_has_one_split_and_every_split_a_field():
    names = [f"f{i}" for i in range(10)]
    found = split_fields(names, Fractions())
    assert sorted(found) == names
    counts = [list(found.values()).count(split) for split in ("train", "validation", "test")]
    assert counts == [6, 2, 2]
    assert set(split_fields(names[:3], Fractions()).values()) == {"train", "validation", "test"}


def test_the_seed_decides_the_split():
    names = [f"f{i}" for i in range(20)]
    assert split_fields(names, Fractions(), 1) == split_fields(names, Fractions(), 1)
    assert split_fields(names, Fractions(), 1) != split_fields(names, Fractions(), 2)


@pytest.mark.parametrize("shape", [(1024, 480), (300, 900), (256, 256)])
def test_regions_are_disjoint_with_a_guard_band_between(shape):
    guard = 16
    found = regions(shape, Fractions(), guard)
    cover = np.zeros(shape, int)
    for rows, columns in found.values():
        cover[rows, columns] += 1
        assert rows.stop - rows.start >= 64 and columns.stop - columns.start >= 64
    assert cover.max() == 1
    assert (cover == 0).sum() == 2 * guard * min(shape)


def test_a_field_too_small_for_three_regions_is_refused():
    with pytest.raises(ValueError, match="at least 64 x 256 px"):
        regions((200, 200), Fractions(), 32)


def test_tiles_are_equal_disjoint_and_inside():
    region = (slice(10, 203), slice(5, 485))
    side = tile_side((193, 480))
    assert side == 96
    cuts = tiles(region, side)
    assert len(cuts) == 10
    cover = np.zeros((300, 500), int)
    for rows, columns in cuts:
        assert rows.stop - rows.start == columns.stop - columns.start == side
        cover[rows, columns] += 1
    assert cover.max() == 1
    assert cover[region].sum() == cover.sum()


def test_tiles_are_as_large_as_their_number_allows_and_at_least_a_patch():
    assert tile_side((2048, 2048)) == 256
    assert tile_side((100, 100)) == 64


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.5), (1.0, 0.0, 0.0)])
def test_shares_sum_to_one(shares):
    with pytest.raises(ValueError, match="sum to 1"):
        Fractions(*shares)
