"""Averaging over turns: exact for what does not care about direction, and indifferent to the image's own direction."""

import torch

from dehazing.stages.turns import averaged_over_turns

X = torch.rand(2, 12, 17, generator=torch.Generator().manual_seed(0))


def leaning(x):
    """A method that looks to the right and below."""
    return x + 0.5 * x.roll(1, -1) ** 2 + 0.1 * x.roll(-2, -2)


def test_what_treats_every_orientation_alike_is_not_changed():
    torch.testing.assert_close(averaged_over_turns(lambda x: 2 * x**2 + 1, X), 2 * X**2 + 1)


def test_the_mean_is_the_one_that_is_written_out():
    expected = torch.zeros_like(X)
    for transposed in (False, True):
        for flips in ([], [-1], [-2], [-2, -1]):
            turned = (X.transpose(-2, -1) if transposed else X).flip(flips)
            back = leaning(turned).flip(flips)
            expected += (back.transpose(-2, -1) if transposed else back) / 8
    torch.testing.assert_close(averaged_over_turns(leaning, X), expected)


def test_a_turned_image_gives_the_turned_result_even_of_a_method_that_leans():
    for num in range(4):
        turned = torch.rot90(X, num, (-2, -1)).flip(-2)
        result = torch.rot90(averaged_over_turns(leaning, X), num, (-2, -1)).flip(-2)
        torch.testing.assert_close(averaged_over_turns(leaning, turned), result)
        assert not torch.allclose(leaning(turned), torch.rot90(leaning(X), num, (-2, -1)).flip(-2))
