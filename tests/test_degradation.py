import pytest
import torch

from dehazing.degradation import degrade


def test_eq_2_by_hand():
    x_0, n = torch.tensor([1.0, 2.0]), torch.tensor([5.0, -2.0])
    assert degrade(x_0, n, 0.25).tolist() == [2.0, 1.0]


def test_no_haze_is_the_image_and_all_haze_the_endpoint():
    x_0, n = torch.randn(2, 3, 1, 8, 8)
    assert torch.equal(degrade(x_0, n, 0.0), x_0)
    assert torch.equal(degrade(x_0, n, 1.0), n)


def test_one_alpha_per_sample():
    x_0, n = torch.zeros(3, 1, 4, 4), torch.ones(3, 1, 4, 4)
    alpha = torch.tensor([0.0, 0.5, 1.0])
    assert degrade(x_0, n, alpha[:, None, None, None]).mean((1, 2, 3)).tolist() == alpha.tolist()


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan"), torch.tensor([0.5, 2.0])])
def test_a_share_outside_its_bounds_is_refused(alpha):
    with pytest.raises(ValueError, match="0 <= alpha_t <= 1"):
        degrade(torch.zeros(2), torch.ones(2), alpha)
