"""Moments by hand, and against numpy one channel at a time."""

import numpy as np
import torch

from dehazing.moments import matched, moments_of


def series():
    generator = torch.Generator().manual_seed(0)
    shapes = ((5, 4, 2, 8, 6), (5, 4, 3, 4, 3))  # N, T + 1, C_i, h_i, w_i
    return tuple(
        torch.randn(*shape, generator=generator) * (2 + torch.arange(4.0))[:, None, None, None] for shape in shapes
    )


def test_moments_are_those_of_every_level_and_channel():
    z = series()
    moments = moments_of(z)
    for group, mean, std in zip(z, moments.mean, moments.std, strict=True):
        for t in range(4):
            for c in range(group.shape[2]):
                fields = [field.numpy() for field in group[:, t, c]]
                assert np.isclose(float(mean[t, c]), np.mean(fields), atol=1e-6)
                assert np.isclose(float(std[t, c]), np.mean([np.var(field) for field in fields]) ** 0.5, rtol=1e-5)


def test_fields_that_differ_in_their_means_alone_vary_within_as_each_does():
    bright = torch.tensor([[0.0, 2.0]])
    z = (torch.stack([bright, bright + 100])[:, None, None],)  # two fields, one level, one channel
    moments = moments_of(z)
    assert float(moments.mean[0]) == 51.0 and float(moments.std[0]) == 1.0


def test_a_matched_latent_has_the_moments_of_its_level_in_every_sample():
    z = series()
    moments = moments_of(z)
    drifted = tuple(3 * group[:, 1] - 7 for group in z)
    brought = matched(drifted, 2, moments)
    for group, mean, std in zip(brought, moments.mean, moments.std, strict=True):
        assert torch.allclose(group.mean((2, 3)), mean[2, :, 0, 0].expand(5, -1), atol=1e-5)
        assert torch.allclose(group.var((2, 3), correction=0).sqrt(), std[2, :, 0, 0].expand(5, -1), rtol=1e-5)


def test_matching_takes_back_any_gain_and_offset_and_does_nothing_twice():
    z = series()
    moments = moments_of(tuple(group[:1] for group in z))  # of this very field
    true = tuple(group[:1, 3] for group in z)
    drifted = tuple(2.2 * group + 0.4 for group in true)
    for brought in (matched(drifted, 3, moments), matched(matched(drifted, 3, moments), 3, moments)):
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(brought, true, strict=True))


def test_a_channel_that_does_not_vary_becomes_the_mean_of_its_level():
    moments = moments_of(series())
    flat = tuple(torch.full((1, *mean.shape[1:2], 4, 4), 5.0) for mean in moments.mean)
    for group, mean in zip(matched(flat, 1, moments), moments.mean, strict=True):
        assert torch.allclose(group, mean[1].expand_as(group))
