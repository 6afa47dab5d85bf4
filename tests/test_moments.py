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
                assert np.isclose(float(std[t, c]), np.mean([np.std(field) for field in fields]), rtol=1e-5)


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


def test_slopes_are_those_of_a_line_through_the_fields():
    z = series()
    moments = moments_of(z)
    for group, mean_slope, std_slope in zip(z, moments.mean_slope, moments.std_slope, strict=True):
        values = group.numpy()
        for t in range(4):
            for c in range(group.shape[2]):
                for slope, of in ((mean_slope, np.mean), (std_slope, np.std)):
                    x, y = ([of(field) for field in values[:, level, c]] for level in (3, t))
                    assert np.isclose(float(slope[t, c]), np.polyfit(x, y, 1)[0], atol=1e-4)
        assert torch.allclose(mean_slope[3], torch.ones_like(mean_slope[3]))


def test_a_bright_field_stays_bright_where_its_own_observation_tells_so():
    generator = torch.Generator().manual_seed(1)
    brightness = torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None, None, None, None]
    pattern = torch.randn(1, 1, 2, 8, 8, generator=generator)
    z = (brightness * torch.cat([pattern * 0.5 + 1, pattern * 2 + 3], 1),)  # levels 0 and 1 = T
    moments = moments_of(z)
    unseen = tuple(10 * group[:1] for group in z)  # ten times as bright as the first field
    z_0, z_T = (tuple(group[:, t] for group in unseen) for t in (0, 1))
    drifted = tuple(7 * group - 2 for group in z_0)
    assert torch.allclose(matched(drifted, 0, moments, z_T)[0], z_0[0], rtol=1e-3)
    assert torch.allclose(matched(drifted, 0, moments)[0].mean((2, 3)), moments.mean[0][0, :, 0, 0], rtol=1e-3)
    dark = tuple(torch.zeros_like(group) for group in z_T)
    assert float(matched(drifted, 0, moments, dark)[0].std((2, 3)).min()) > 0, "no field has a negative spread"


def test_a_channel_that_does_not_vary_becomes_the_mean_of_its_level():
    moments = moments_of(series())
    flat = tuple(torch.full((1, *mean.shape[1:2], 4, 4), 5.0) for mean in moments.mean)
    for group, mean in zip(matched(flat, 1, moments), moments.mean, strict=True):
        assert torch.allclose(group, mean[1].expand_as(group))
