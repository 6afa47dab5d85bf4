"""Errors by place: known masks, errors worked out by hand, and that both places add up to the whole."""

import math

import numpy as np
import pytest
import torch

from dehazing import metrics
from dehazing.metrics import place
from dehazing.metrics.place import structure


def square(size=32, dark=1.0, bright=5.0):
    """A bright square of 8 x 8 px on an even background, (1, size, size)."""
    image = torch.full((1, size, size), dark, dtype=torch.float64)
    image[:, 12:20, 12:20] = bright
    return image


def test_a_square_on_an_even_background_is_the_structure_to_a_pixel():
    found = structure(metrics.Reference(square()))[0]
    inner = torch.zeros(32, 32, dtype=torch.bool)
    inner[13:19, 13:19] = True
    outer = torch.zeros(32, 32, dtype=torch.bool)
    outer[11:21, 11:21] = True
    assert found[inner].all() and not found[~outer].any()


def test_errors_on_each_place_by_hand():
    truth = square()
    chosen = structure(metrics.Reference(truth))
    prediction = truth + torch.where(chosen, 0.4, -0.02)  # range 4: 20 dB and 46.02 dB
    assert place.psnr_structure(prediction, truth).item() == pytest.approx(20)
    assert place.psnr_background(prediction, truth).item() == pytest.approx(20 * math.log10(200))
    share = place.structure_share(prediction, truth).item()
    assert share == chosen.sum().item() / 32**2
    assert metrics.mse(prediction, truth).item() == pytest.approx(share * 0.16 + (1 - share) * 0.0004)
    assert place.psnr_structure(truth, truth).item() == math.inf


def test_both_places_add_up_to_the_whole():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :48]
    truth = torch.from_numpy(np.stack([np.exp(-0.1 * (y - 15 - k * np.sin(x / 9)) ** 2) for k in (2.0, 4.0, 6.0)]))
    prediction = truth + torch.from_numpy(rng.normal(0, 0.2, truth.shape)) * (0.2 + truth)
    share, *parts = (
        metric(prediction, truth) for metric in (place.structure_share, place.psnr_structure, place.psnr_background)
    )
    of_structure, of_background = (10 ** (-part / 10) for part in parts)
    whole = 10 ** (-metrics.psnr(prediction, truth) / 10)
    torch.testing.assert_close(share * of_structure + (1 - share) * of_background, whole)
    squared = metrics.range(truth) ** 2
    torch.testing.assert_close(
        squared * (share * of_structure + (1 - share) * of_background), metrics.mse(prediction, truth)
    )
    assert (of_structure > of_background).all(), "the noise was made larger there"


def test_gain_and_offset_of_the_reference_and_its_noise_move_no_structure():
    truth = square()
    plain = structure(metrics.Reference(truth))
    assert torch.equal(structure(metrics.Reference(512 * truth - 300)), plain)
    generator = torch.Generator().manual_seed(0)
    noisy = truth + 0.5 * torch.randn(truth.shape, generator=generator, dtype=torch.float64)
    found = structure(metrics.Reference(noisy))[0]
    assert found[13:19, 13:19].all() and found.sum() == found[10:22, 10:22].sum()
    hot = truth.clone()
    hot[0, 3, 3] = 5.0  # as bright as the square
    assert not structure(metrics.Reference(hot))[0, 3, 3]


@pytest.mark.parametrize("metric", [place.psnr_structure, place.psnr_background, place.structure_share])
def test_a_field_of_nothing_but_noise_is_refused_with_a_sentence(metric):
    noise = torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(3))
    with pytest.raises(metrics.NotApplicable, match=r"structure that stands out of a background, but one .* 17% of"):
        metric(noise, noise)
    lonely = torch.zeros(1, 32, 32)
    lonely[0, 9, 9] = 1
    with pytest.raises(metrics.NotApplicable, match="as even as noise"):
        metric(lonely, lonely)
