"""Fields of a stack lie in regions apart, at places that share nothing."""

from itertools import combinations

import pytest

from dehazing.data.places import places_in_stack

MANY = {"train": 60, "validation": 8, "test": 16}


def test_splits_are_a_guard_apart_and_places_differ():
    places, notes = places_in_stack((32, 400, 128), {"train": 6, "validation": 2, "test": 2}, 64, 32, 0.25, 0)
    assert notes == [] and len(places) == 10
    for one, other in combinations(places, 2):
        away = max(abs(one.y - other.y), abs(one.x - other.x)) - 64
        if one.split != other.split:
            assert away >= 32
        else:
            assert away >= 0 or abs(one.focus - other.focus) >= 4, "planes at least 1 µm apart"
    assert all(0 <= place.y <= 400 - 64 and 0 <= place.x <= 64 and 8 <= place.focus < 24 for place in places)


def test_too_few_places_are_shared_in_proportion_and_that_is_said():
    places, notes = places_in_stack((32, 256, 256), MANY, 64, 64, 0.25, 0)
    assert [sum(place.split == split for place in places) for split in MANY] == [16, 2, 4]
    assert any("16/2/4" in note and "60/8/16" in note for note in notes)
    assert any("32 px between the regions" in note for note in notes)


def test_every_split_gets_a_field():
    places, _ = places_in_stack((1, 64, 192), MANY, 64, 0, 1.0, 0)
    assert [place.split for place in places] == ["train", "validation", "test"]


def test_the_seed_decides():
    one, again, other = (places_in_stack((32, 400, 400), MANY, 64, 32, 0.25, seed)[0] for seed in (0, 0, 1))
    assert one == again != other


def test_a_field_that_does_not_fit_is_refused_with_the_largest_that_does():
    with pytest.raises(ValueError, match=r"`field_px` must be at most 80 .* 256 x 256 px .* but is 128"):
        places_in_stack((32, 256, 256), MANY, 128, 64, 0.25, 0)
    places_in_stack((32, 256, 256), MANY, 80, 64, 0.25, 0)
