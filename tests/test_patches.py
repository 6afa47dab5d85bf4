"""Patches are cut from the images as they are, and alike from aligned tensors."""

import pytest
import torch

from dehazing.data.patches import aligned_patches, random_patches


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


def test_an_aligned_tensor_is_cut_alike():
    whole = images()
    cut, aligned = aligned_patches((whole, 2 * whole[:, :1]), 8, 16, torch.Generator().manual_seed(0))
    assert torch.equal(aligned[:, 0], 2 * cut[:, 0])


def test_every_orientation_occurs():
    patches = random_patches(images(), 200, 8, torch.Generator().manual_seed(0))[:, 0]
    steps = {(float(p[0, 1] - p[0, 0]), float(p[1, 0] - p[0, 0])) for p in patches}
    assert len(steps) == 8


def test_images_smaller_than_a_patch_are_refused():
    with pytest.raises(ValueError, match="at least a patch"):
        random_patches(images(), 1, 64, torch.Generator())
