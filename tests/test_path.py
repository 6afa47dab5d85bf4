"""The path of a series: lengths by hand, shares against numpy's own least squares."""

import json

import numpy as np
import pytest
import torch

from dehazing.stages.path import ALL, both_walked, walked

T = 3


def table(records):
    """(measure, group, level) → value."""
    return {(one["measure"], one["group"], one["level"]): one["value"] for one in records}


def group(*levels):
    """One field, one channel, (1, T + 1, 1, 1, D) from the vectors of its levels."""
    return torch.tensor(levels, dtype=torch.float32)[None, :, None, None]


def random_latents(seed, num=6, shapes=((2, 8, 6), (3, 4, 3))):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(num, T + 1, *shape, generator=generator) for shape in shapes)


def test_lengths_by_hand():
    cornered = group((0.0, 0.0), (3.0, 0.0), (3.0, 4.0))  # 3 + 4 over 5
    straight = group((0.0, 0.0), (1.0, 1.0), (12.0, 12.0))
    found = walked((cornered, straight), (cornered, straight))
    lengths = {one["group"]: one for one in found if one["measure"] == "length"}
    assert lengths[1]["value"] == pytest.approx(7 / 5) and lengths[2]["value"] == pytest.approx(1)
    steps = [np.sqrt(9 + 2), np.sqrt(16 + 2 * 11**2)]
    assert lengths[ALL]["value"] == pytest.approx(sum(steps) / np.sqrt(25 + 2 * 144))
    two = walked(*[(torch.cat([cornered, straight]),)] * 2)
    by_field = next(one for one in two if one["measure"] == "length" and one["group"] == 1)
    assert by_field["fields"] == pytest.approx([7 / 5, 1]) and by_field["value"] == pytest.approx(6 / 5)


def test_a_series_of_eq_2_is_a_straight_line_with_its_own_alpha():
    alpha = torch.tensor([0.0, 0.2, 0.7, 1.0])[:, None, None, None]

    def mixed(seed):
        return tuple(torch.lerp(z[:, :1], z[:, -1:], alpha) for z in random_latents(seed))

    found = table(walked(mixed(0), mixed(1)))
    for level, share in ((1, 0.2), (2, 0.7)):
        assert found["haze_alpha", ALL, level] == pytest.approx(share, abs=1e-6)
        assert found["alpha", ALL, level] == pytest.approx(1, abs=1e-5) == found["span", 2, level]
    assert all(found["length", of, None] == pytest.approx(1, abs=1e-5) for of in (ALL, 1, 2))


def test_an_offset_of_a_channel_is_no_part_of_what_the_line_must_explain():
    alpha = torch.tensor([0.0, 0.2, 0.7, 1.0])[:, None, None, None]
    z_0, *_, z_T = random_latents(0)[0].unbind(1)
    z = torch.lerp(z_0[:, None], z_T[:, None], alpha)
    shifted = z.clone()
    shifted[:, 1] += torch.tensor([3.0, -2.0])[:, None, None]
    assert table(walked((shifted,), (shifted,)))["alpha", 1, 1] > 0.95  # alpha itself is fitted without the offset


def test_shares_are_those_of_numpys_least_squares():
    train, test = random_latents(0), random_latents(1)
    train, test = (tuple(z.cumsum(1) for z in part) for part in (train, test))
    found = table(walked(test, train))

    def share(i, inputs, level):
        """A fit per channel on the training fields, scored on the test fields."""
        seen = [np.moveaxis(z[i].double().numpy(), 2, 0) for z in (train, test)]  # (C, N, T + 1, h, w)
        left = total = 0.0
        for fitted, scored in zip(*seen, strict=True):
            A, B = (np.stack([z[:, t].ravel() for t in inputs] + [np.ones(z[:, 0].size)], 1) for z in (fitted, scored))
            x = np.linalg.lstsq(A, fitted[:, level].ravel(), rcond=None)[0]
            true = scored[:, level].ravel()
            left += ((true - B @ x) ** 2).sum()
            total += ((true - true.mean()) ** 2).sum()
        return 1 - left / total

    for i in (0, 1):
        for s in range(T):
            assert found["next", i + 1, s] == pytest.approx(share(i, [s + 1], s), abs=1e-5)
        for s in range(1, T):
            assert found["span", i + 1, s] == pytest.approx(share(i, [0, T], s), abs=1e-5)
    assert found["next", ALL, 1] == pytest.approx((share(0, [2], 1) + share(1, [2], 1)) / 2, abs=1e-5)
    assert not np.isclose(found["next", 1, 0], found["next", 1, 2])


def test_noise_of_its_own_in_every_frame_lengthens_the_path_of_pixels():
    smooth = torch.linspace(0, 1, T + 1)[None, :, None, None] * torch.randn(4, 1, 16, 16)
    noisy = smooth + 0.3 * torch.randn(4, T + 1, 16, 16)

    def encode(x):
        return (x[:, :, None, ::2, ::2], x[:, :, None, ::4, ::4].expand(-1, -1, 2, -1, -1))

    clean, frames = (both_walked(x, x, encode, seen) for x, seen in ((smooth, "truth"), (noisy, "frames")))
    lengths = {
        (one["seen"], one["domain"]): one["value"]
        for one in [*clean, *frames]
        if one["measure"] == "length" and one["group"] == ALL
    }
    assert lengths["truth", "pixels"] == pytest.approx(1, abs=1e-5) == lengths["truth", "latents"]
    assert lengths["frames", "pixels"] > 1.2
    assert {one["group"] for one in frames if one["domain"] == "latents"} == {0, 1, 2}
    json.dumps(frames)
