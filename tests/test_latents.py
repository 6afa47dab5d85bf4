"""Crops of latents are cut from them as they are, aligned over groups and over latents."""

import torch

from dehazing.data.latents import crop_latents


def latent(offset=0.0, num=3, levels=2, h=4, w=5):
    """Each number says where it stands in the coarsest group: field, then row and column to a quarter or half."""
    groups = []
    for k, channels in ((4, 2), (2, 3), (1, 4)):
        y, x = torch.meshgrid(torch.arange(k * h) / k, torch.arange(k * w) / k, indexing="ij")
        group = (100 * y + x).expand(num, levels, channels, -1, -1)
        groups.append(group + 1e4 * torch.arange(num)[:, None, None, None, None] + offset)
    return tuple(groups)


def test_the_crops_of_all_groups_and_latents_are_of_the_same_place():
    z, other = crop_latents([latent(), latent(0.125)], 40, 2, torch.Generator().manual_seed(0))
    for group, one, k in zip(z, other, (4, 2, 1), strict=True):
        assert group.shape[0] == 40 and group.shape[-2:] == (2 * k, 2 * k)
        corner = group[..., :1, :1]
        assert torch.equal(corner, z[-1][:, :1, :1, :1, :1].expand_as(corner)), "as the coarsest group's"
        y, x = torch.meshgrid(torch.arange(2 * k) / k, torch.arange(2 * k) / k, indexing="ij")
        assert torch.equal(group, corner + 100 * y + x), "what lies side by side stays so"
        assert torch.equal(one, group + 0.125)
    corners = set(z[-1][:, 0, 0, 0, 0].tolist())
    assert corners <= {1e4 * field + 100 * y + x for field in range(3) for y in range(3) for x in range(4)}
    assert len(corners) > 20


def test_a_crop_is_at_most_the_whole():
    (z,) = crop_latents([latent()], 5, 99, torch.Generator().manual_seed(0))
    assert [group.shape[-2:] for group in z] == [(16, 20), (8, 10), (4, 5)]
