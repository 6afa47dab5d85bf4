"""What a group is good for, and what lies outside, where both are known beforehand."""

import numpy as np
import pytest
import torch

from dehazing.models.hvae import HVAE
from dehazing.stages.latent_space import latent_space, outside, use_of_groups

CHANNELS = (2, 2, 3)


def trained(images, num_steps=60):
    """A small ladder that reconstructs a little."""
    torch.manual_seed(0)
    network = HVAE(CHANNELS, width=8)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(num_steps):
        optimizer.zero_grad()
        (network(images)[0] - images).square().mean().backward()
        optimizer.step()
    network.requires_grad_(False).eval().standardise(images)
    return network


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 1, 24, 20, generator=generator)


@pytest.fixture(scope="module")
def hvae(images):
    return trained(images)


def psnr(image, reference):
    """By hand: the range is the reference's own."""
    error = (image - reference).square().mean().item()
    return 10 * np.log10((reference.max() - reference.min()).item() ** 2 / error)


def test_what_is_lost_is_the_psnr_with_the_group_less_that_with_its_prior(hvae, images):
    whole, lost = use_of_groups(hvae, images[:, 0])
    z = [hvae.encode(image[None]) for image in images]
    expected = np.mean([psnr(hvae.decode(one)[0, 0, :24, :20], x[0]) for one, x in zip(z, images, strict=True)])
    without = np.mean([psnr(hvae.decode(one, {0})[0, 0, :24, :20], x[0]) for one, x in zip(z, images, strict=True)])
    assert whole == pytest.approx(expected, abs=1e-4) and lost[0] == pytest.approx(expected - without, abs=1e-4)
    assert lost[0] > 1, "half of the image's detail is in the finest group"


def test_a_group_that_the_decoder_does_not_read_loses_nothing_whatever_its_latent_is(hvae, images):
    unread = HVAE(CHANNELS, width=8)
    unread.load_state_dict(hvae.state_dict())
    with torch.no_grad():
        unread.groups[1].merge.weight.zero_()
    _, lost = use_of_groups(unread, images[:, 0])
    assert lost[1] == 0 and lost[0] != 0


def test_latents_of_the_training_fields_lie_outside_by_two_in_a_thousand():
    generator = torch.Generator().manual_seed(0)
    z = (torch.randn(50, 2, 3, 20, 20, generator=generator), torch.randn(50, 2, 1, 10, 10, generator=generator))
    shares = np.array(outside(z, z))
    assert shares.shape == (2, 2) and shares == pytest.approx(0.002, abs=2e-4)


def test_every_level_and_channel_has_a_range_of_its_own():
    uniform = torch.linspace(0, 1, 10_001).reshape(1, 1, 1, 73, 137)
    trained = (torch.cat([torch.cat([uniform, 5 + uniform], 2), torch.cat([9 + uniform, uniform], 2)], 1),)
    test = torch.full((1, 2, 2, 2, 2), 0.5)  # inside at level 0 for the first channel, at level 1 for the second
    assert outside((test,), trained) == [[0.5], [0.5]]
    test[0, 0] = torch.tensor([[[0.0005, 0.9995], [0.0015, 0.9985]], [[5.5, 4.9], [5.5, 6.1]]])
    assert outside((test,), trained) == [[0.5], [0.5]]
    test[0, 1] = 9.5
    assert outside((test,), trained) == [[0.5], [0.5]] and outside((test + 100,), trained) == [[1.0], [1.0]]


def test_there_is_a_record_for_every_level_and_group(hvae, images):
    levels = torch.stack([images[:, 0], 2 * images[:, 0]], 1)
    z = tuple(torch.stack(part, 1) for part in zip(*(hvae.encode(levels[:, t, None]) for t in (0, 1)), strict=True))
    records = latent_space(hvae, levels, z, z)
    assert [(one["level"], one["group"]) for one in records] == [(t, i) for t in (0, 1) for i in (1, 2, 3)]
    whole, lost = use_of_groups(hvae, levels[:, 1])
    assert records[4] == {"level": 1, "group": 2, "psnr": whole, "psnr_lost": lost[1], "outside": records[4]["outside"]}
