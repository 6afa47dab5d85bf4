import pytest
import torch

from dehazing import schedules
from dehazing.degradation import degrade

KINDS = [
    ("linear", {}),
    ("cosine", {}),
    ("sigmoid", {}),
    ("sigmoid", {"steepness": 20.0, "midpoint": 0.3}),
    ("power", {"exponent": 0.5}),
    ("power", {"exponent": 3.0}),
]


@pytest.mark.parametrize(("kind", "parameters"), KINDS)
@pytest.mark.parametrize("T", [1, 4, 7])
def test_haze_rises_from_none_to_all(kind, parameters, T):
    alpha = schedules.alpha(kind, T, **parameters)
    assert alpha.shape == (T + 1,)
    assert alpha[0] == 0 and alpha[-1] == pytest.approx(1, abs=1e-12)
    assert (alpha.diff() > 0).all()


def test_values_by_hand():
    assert schedules.alpha("linear", 4).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert schedules.alpha("power", 2, exponent=2.0).tolist() == [0, 0.25, 1]
    assert schedules.alpha("cosine", 2).tolist() == pytest.approx([0, 0.5, 1])
    assert schedules.alpha("cosine", 3)[1] == pytest.approx(0.25)
    assert schedules.alpha("sigmoid", 2)[1] == pytest.approx(0.5)
    assert schedules.alpha("constant", 2, value=0.3).tolist() == pytest.approx([0.3] * 3)


def test_the_s_curve_is_steepest_at_its_midpoint():
    alpha = schedules.alpha("sigmoid", 10, steepness=10.0, midpoint=0.25)
    assert alpha.diff().argmax() == 2  # between t = 2 and t = 3


def test_combine_alpha_rises_with_progress():
    linear = {"kind": "linear"}
    rising = schedules.combine_alpha(linear, 5)
    assert rising[5] == 0 and rising[1] == 1 and rising[3] == 0.5
    falling = schedules.combine_alpha(linear, 5, "falling")
    torch.testing.assert_close(falling, 1 - rising)
    power = schedules.combine_alpha({"kind": "power", "exponent": 2.0}, 5)
    assert power[3] == 0.25
    assert schedules.combine_alpha({"kind": "constant", "value": 0.5}, 3).tolist() == [0.5] * 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: schedules.alpha("linar", 3), "one of linear, .* but got 'linar'"),
        (lambda: schedules.alpha("linear", 3, exponent=2.0), "'linear' has no parameters, but got exponent"),
        (lambda: schedules.alpha("linear", 0), "T >= 1"),
        (lambda: schedules.alpha("power", 3, exponent=0.0), "exponent > 0"),
        (lambda: schedules.alpha("sigmoid", 3, midpoint=1.0), "0 < midpoint < 1"),
        (lambda: schedules.alpha("constant", 3, value=1.5), "0 <= value <= 1"),
        (lambda: schedules.combine_alpha({"kind": "linear"}, 3, "up"), "rising or falling, but got 'up'"),
    ],
)
def test_a_mistake_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_every_kind_says_which_parameters_it_has():
    assert schedules.SHAPES.keys() == schedules.PARAMETERS.keys()


def test_fitting_recovers_the_schedule_that_made_a_series():
    torch.manual_seed(0)
    x_0, n = torch.randn(2, 6, 16, 16, dtype=torch.float64)
    alpha = schedules.alpha("sigmoid", 4)
    series = torch.stack([degrade(x_0, n, alpha_t) for alpha_t in alpha], dim=1)  # (N, T + 1, Y, X)
    torch.testing.assert_close(schedules.fitted(series), alpha)


def test_fitting_stays_within_bounds():
    x = torch.stack([torch.zeros(8, 8), -torch.ones(8, 8), 5 * torch.ones(8, 8), torch.ones(8, 8)])[None]
    assert schedules.fitted(x).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("steepness", [2.0, 7.3, 20.0])
@pytest.mark.parametrize("midpoint", [0.1, 0.37, 0.9])
def test_the_s_curve_has_exact_ends(steepness, midpoint):
    # a share of exactly 0 or 1 is one end of a combination, so the other one needs no network
    schedule = {"kind": "sigmoid", "steepness": steepness, "midpoint": midpoint}
    for direction, ends in (("rising", (0, 1)), ("falling", (1, 0))):
        combined = schedules.combine_alpha(schedule, 4, direction)
        assert (float(combined[4]), float(combined[1])) == ends
        assert combined.dtype == torch.float64 and ((combined >= 0) & (combined <= 1)).all()


def test_what_remains_of_the_haze_one_level_below():
    assert schedules.remaining([0.0, 0.25, 0.5, 1.0]) == [1.0, 0.0, 0.5, 0.5]
    assert schedules.remaining([0.0, 0.0, 0.6, 0.3, 1.0]) == [1.0, 1.0, 0.0, 1.0, 0.3], "no level adds haze"
