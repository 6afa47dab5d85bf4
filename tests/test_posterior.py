"""The posterior's record on samples whose answers are known: a calibrated Gaussian, one that is too sure."""

import math

import pytest
import torch

from dehazing.metrics import Reference, psnr
from dehazing.stages.posterior import measured_posterior


def gaussian(num_samples, spread_of_truth=1.0, num_fields=4, size=96, seed=0):
    """Samples per field and the truth: both Gaussian around the same mean, σ from 0.2 to 1 over the columns."""
    generator = torch.Generator().manual_seed(seed)
    sigma = torch.linspace(0.2, 1.0, size).expand(size, size)
    mean = torch.rand(num_fields, size, size, generator=generator) * 10
    truth = mean + spread_of_truth * sigma * torch.randn(num_fields, size, size, generator=generator)
    drawn = mean + sigma * torch.randn(num_samples, num_fields, size, size, generator=generator)
    return list(drawn.unbind(1)), Reference(truth)


@pytest.mark.parametrize("num_samples", [4, 7, 32])
def test_a_calibrated_gaussian_gives_a_line_of_slope_one_through_zero(num_samples):
    found = measured_posterior(*gaussian(num_samples))
    assert found["calibration"]["slope"] == pytest.approx(1.0, abs=0.06)
    assert found["calibration"]["intercept"] == pytest.approx(0.0, abs=0.04)
    for one in found["calibration"]["bins"]:
        assert one["rmse"] == pytest.approx(one["spread"], rel=0.08)
    assert found["spread"] == pytest.approx(math.sqrt((1.0**3 - 0.2**3) / 3 / 0.8), rel=0.03)  # of σ² over the columns


def test_a_posterior_that_is_twice_too_sure_has_a_steeper_line():
    found = measured_posterior(*gaussian(16, spread_of_truth=2.0))
    expected = math.sqrt((4 + 1 / 16) / (1 + 1 / 16))  # the truth varies by 2σ, the mean of 16 by σ/4
    assert found["calibration"]["slope"] == pytest.approx(expected, rel=0.05)


def test_the_square_error_falls_with_the_number_of_samples_as_one_and_one_over_it():
    found = measured_posterior(*gaussian(16))
    assert [one["num"] for one in found["psnr"]] == [1, 2, 4, 8, 16]
    one, *others = found["psnr"]
    for other in others:
        expected = 10 * math.log10(2 / (1 + 1 / other["num"]))
        assert other["psnr"] - one["psnr"] == pytest.approx(expected, abs=0.05)


def test_the_last_psnr_is_that_of_the_mean_of_all_samples():
    drawn, reference = gaussian(6)
    found = measured_posterior(iter(drawn), reference)
    assert [one["num"] for one in found["psnr"]] == [1, 2, 4, 6]
    mean = torch.stack([field.mean(0) for field in drawn])
    assert found["psnr"][-1]["psnr"] == pytest.approx(float(psnr(mean, reference).mean()), abs=1e-6)


@pytest.mark.parametrize("num_samples", [1, 2, 3])
def test_too_few_samples_tell_no_calibration(num_samples):
    found = measured_posterior(*gaussian(num_samples))
    assert found["calibration"] is None and (found["spread"] is None) == (num_samples == 1)
    assert found["num_samples"] == num_samples


def test_samples_that_are_all_alike_have_no_slope():
    same, reference = torch.zeros(4, 8, 8), Reference(torch.rand(1, 8, 8))
    found = measured_posterior([same], reference)
    assert found["calibration"]["slope"] is None and found["spread"] == 0
