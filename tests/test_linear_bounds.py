"""Linear maps against known ones, the Wiener bound against numpy's own transform, and the share that is explained."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from dehazing.linear_bounds import explained, fit_filters, fit_gains, radii


def latents(seed, num=6, shapes=((2, 16, 12), (3, 8, 6))):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(num, *shape, generator=generator) for shape in shapes)


def test_the_share_by_hand():
    true = torch.tensor([0.0, 2.0, 4.0, 6.0]).reshape(2, 1, 1, 2)  # variance 5 about 3
    assert explained((true,), (true,)) == 1.0
    assert explained((torch.full_like(true, 3.0),), (true,)) == 0.0
    assert explained((true + 1,), (true,)) == pytest.approx(1 - 1 / 5)
    assert explained((true + 1, true), (true, true)) == pytest.approx(1 - 0.1), "the mean over groups"


def test_a_linear_mixture_is_explained_by_its_gains_on_other_fields():
    def mixture(a, b):
        gains = (2.0, -0.5, 3.0)
        return tuple(
            torch.stack([g * x + (1 - g) * y + g for g, x, y in zip(gains, u.unbind(1), v.unbind(1), strict=False)], 1)
            for u, v in zip(a, b, strict=True)
        )

    predict = fit_gains([latents(0), latents(1)], mixture(latents(0), latents(1)))
    other = [latents(2), latents(3)]
    assert explained(predict(other), mixture(*other)) == pytest.approx(1, abs=1e-6)
    alone = fit_gains([latents(0)], mixture(latents(0), latents(1)))
    assert explained(alone(other[:1]), mixture(*other)) < 0.95


def blurred(z, sigma):
    return tuple(torch.from_numpy(gaussian_filter(group.numpy(), (0, 0, sigma, sigma), mode="wrap")) for group in z)


@pytest.mark.parametrize("shapes", [((2, 16, 16), (3, 8, 8)), ((1, 15, 11),)])
def test_a_sum_of_blurs_is_explained_by_filters_and_not_by_gains(shapes):
    def target(a, b):
        return tuple(x - 2 * y + 4 for x, y in zip(blurred(a, 1.5), blurred(b, 0.7), strict=True))

    train, other = ([latents(seed, shapes=shapes) for seed in seeds] for seeds in ((0, 1), (2, 3)))
    filters, gains = fit_filters(train, target(*train)), fit_gains(train, target(*train))
    assert explained(filters(other), target(*other)) > 0.98, "few fields to fit each ring on"
    assert explained(gains(other), target(*other)) < 0.8


@pytest.mark.parametrize("size", [16, 15])
def test_what_one_filter_explains_is_the_coherence_summed_over_rings(size):
    """In sample: sum over rings of |S_xy|² / S_xx over the target's whole power, from full transforms."""
    x, noise = (latents(seed, shapes=((1, size, size),)) for seed in (0, 1))
    y = tuple(a + 0.8 * b for a, b in zip(blurred(x, 1.0), noise, strict=True))
    found = explained(fit_filters([x], y)([x]), y)
    X, Y = (np.fft.fft2(group.numpy()[:, 0] - group.numpy().mean()) for (group,) in (x, y))
    k = np.fft.fftfreq(size) * size
    ring = np.round(np.hypot(k[:, None], k[None])).astype(int)
    gained = sum(
        (X[:, ring == r].conj() * Y[:, ring == r]).real.sum() ** 2 / (np.abs(X[:, ring == r]) ** 2).sum()
        for r in range(ring.max() + 1)
    )
    assert found == pytest.approx(gained / (np.abs(Y) ** 2).sum(), abs=1e-4)


def test_radii_are_those_of_the_full_transform():
    height, width = 6, 10
    for y in range(height):
        for x in range(width // 2 + 1):
            far = np.hypot(min(y, height - y) / height, x / width) * width
            assert int(radii(height, width)[y, x]) == round(far)
