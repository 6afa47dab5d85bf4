"""What the report says of HDN's samples is what the records say."""

import numpy as np
import pytest
import torch

from analysis.samples import samples_figure, samples_sentences, samples_table
from dehazing.metrics import Reference
from dehazing.stages.posterior import measured_posterior


def record(num_samples, error=1.0):
    """Of a posterior of σ = 0.1 … 1; the truth is `error` times as far away as the posterior has it."""
    generator = torch.Generator().manual_seed(num_samples)
    sigma = torch.linspace(0.1, 1, 64)
    truth = error * sigma * torch.randn(2, 64, 64, generator=generator)
    drawn = sigma * torch.randn(2, num_samples, 64, 64, generator=generator)
    return measured_posterior(drawn, Reference(truth))


@pytest.mark.parametrize(("error", "said"), [(1.0, "calibrated"), (2.0, "too sure of itself"), (0.3, "too unsure")])
def test_the_slope_is_put_in_words(error, said):
    assert samples_sentences({1: record(16, error)})[-1].endswith(f"this one is {said}.")


def test_two_samples_have_a_curve_and_no_calibration():
    records = {1: record(2), 2: record(2)}
    table = samples_table(records)
    assert table["num"].tolist() == [1, 2, 1, 2] and table["rmse"].isna().all()
    assert len(samples_figure(table).axes) == 1
    assert "it takes four samples, but there are 2" in samples_sentences(records)[-1]


def test_the_figure_draws_what_the_table_holds():
    records = {seed: record(8) for seed in (1, 2)}
    table = samples_table(records)
    by_number, calibration = samples_figure(table).axes
    assert [line.get_ydata().tolist() for line in by_number.lines] == [
        [one["psnr"] for one in records[seed]["psnr"]] for seed in (1, 2)
    ]
    diagonal, *seeds = calibration.lines
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    assert len(seeds) == 2 and len(seeds[0].get_xdata()) == 12


def test_nothing_is_said_of_nothing():
    assert samples_sentences({}) == []
