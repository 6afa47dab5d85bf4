"""Patches are cut from the images as they are, whichever of their levels are wanted."""

import pytest
import torch

from dehazing.data.patches import cut, draw_places, random_patches


def images(num_y=40, num_x=50):
    y, x = torch.meshgrid(torch.arange(num_y), torch.arange(num_x), indexing="ij")
    field = torch.stack([1000.0 * y + x, 1000.0 * y + x + 0.5])
    return torch.stack([field, field + 1e6])


def test_shape_and_seed():
    one = random_patches(images(), 5, 16, torch.Generator().manual_seed(0))
    assert one.shape == (5, 2, 16, 16)
    assert torch.equal(one, random_patches(images(), 5, 16, torch.Generator().manual_seed(0)))
    assert not torch.equal(one, random_patches(images(), 5, 16, torch.Generator().manual_seed(1)))


def test_levels_stay_aligned_and_pixels_unchanged():
    patches = random_patches(images(), 20, 16, torch.Generator().manual_seed(0))
    assert torch.equal(patches[:, 1], patches[:, 0] + 0.5)
    assert set(patches[:, 0].flatten().tolist()) <= set(images()[:, 0].flatten().tolist())


def test_each_patch_is_the_slice_that_was_drawn_turned_and_mirrored():
    whole, num = images(), 64
    places = draw_places(whole, num, 16, torch.Generator().manual_seed(0))
    cuts = cut(whole, places, 16)
    for i in range(num):
        field, y, x, turns, mirrored = (int(drawn[i]) for drawn in places)
        plain = torch.rot90(whole[field, :, y : y + 16, x : x + 16], turns, (-2, -1))
        assert torch.equal(cuts[i], plain.flip(-1) if mirrored else plain), f"{turns=} {mirrored=}"


def test_places_reach_every_corner_and_every_field():
    field, y, x, turns, mirrored = draw_places(images(10, 9), 500, 8, torch.Generator().manual_seed(0))
    for drawn, num in ((field, 2), (y, 3), (x, 2), (turns, 4), (mirrored, 2)):
        assert set(drawn.tolist()) == set(range(num))


def test_levels_that_are_wanted_are_those_of_the_whole_patch():
    whole, levels = images(), torch.randint(2, (8, 3), generator=torch.Generator().manual_seed(1))
    places = draw_places(whole, 8, 16, torch.Generator().manual_seed(0))
    wanted, all_of_them = cut(whole, places, 16, levels), cut(whole, places, 16)
    assert torch.equal(wanted, torch.stack([patch[of] for patch, of in zip(all_of_them, levels, strict=True)]))


def test_every_orientation_occurs():
    patches = random_patches(images(), 200, 8, torch.Generator().manual_seed(0))[:, 0]
    steps = {(float(p[0, 1] - p[0, 0]), float(p[1, 0] - p[0, 0])) for p in patches}
    assert len(steps) == 8


def test_images_smaller_than_a_patch_are_refused():
    with pytest.raises(ValueError, match="at least a patch"):
        random_patches(images(), 1, 64, torch.Generator())
