"""The gate says what the table says: holds, falls short, undecided, or nothing without a noise-free x_0."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.gate import gate


def table(gaps, seeds=(1, 2, 3), extra=0.0):
    """UNet at 30 dB + field, Dec(E(x_0)) a gap above it; one gap per field, seeds alike but for `extra` of the last."""
    rows = []
    for seed in seeds:
        for f, gap in enumerate(gaps):
            of_seed = extra * (seed == seeds[-1])
            at = {"seed": seed, "field": f"f{f}", "step": 0, "level": 3}
            rows.append({**at, "variant": "unet", "psnr": 30.0 + f, "psnr_ri": 0.0})
            rows.append({**at, "variant": "unet", "psnr": 90.0, "psnr_ri": 0.0, "step": 1, "level": 2})
            rows.append({**at, "variant": "ceiling_truth", "psnr": 30.0 + f + gap + of_seed, "psnr_ri": 1.0})
            rows.append({**at, "variant": "ceiling_frame", "psnr": 31.0 + f, "psnr_ri": 1.0})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("gaps", "verdict"),
    [([4.0] * 4, "holds"), ([3.9] * 4, "falls short"), ([9, 8, 7, 6], "holds"), ([1, 2, 8, 9], "undecided")],
)
def test_the_whole_interval_must_be_at_four_decibels_or_above(gaps, verdict):
    found = gate(table(gaps), "truth")
    assert found.verdict == verdict and verdict in found.text
    assert found.gap == pytest.approx(np.mean(gaps)) and found.ci_low <= found.gap <= found.ci_high


def test_the_interval_is_over_the_fields_whatever_the_seeds_do():
    gaps = [5.0, 6.0, 8.0, 9.0]
    found = gate(table(gaps, extra=3.0), "truth")
    half = stats.t.ppf(0.975, 3) * np.std(gaps, ddof=1) / 2  # over the means of the seeds, 1 dB higher each
    assert (found.ci_low, found.ci_high) == pytest.approx((8 - half, 8 + half))
    assert "(seeds +7.0 to +10.0)" in found.text


def test_one_seed_whose_latents_cannot_hold_the_image_leaves_it_undecided():
    found = gate(table([7.0] * 4, extra=-6.0), "truth")  # 7, 7 and 1: a mean of 5
    assert found.ci_low == pytest.approx(5) and found.lowest_seed == pytest.approx(1)
    assert found.verdict == "undecided"


def test_what_is_paired_is_the_unet_at_the_haziest_level():
    assert gate(table([5.0, 6.0]), "truth").gap == pytest.approx(5.5)


def test_a_real_series_has_a_value_and_no_verdict():
    found = gate(table([9.0] * 4), "frame")
    assert found.verdict == "" and found.gap == pytest.approx(1.0)
    assert found.text.startswith("Dec(E(x₀)) of the acquired frame lies +1.0 dB [+1.0, +1.0] over the UNet")


def test_an_autoencoder_that_gives_nothing_finite_falls_short():
    assert gate(table([np.nan, 9.0]), "truth").verdict == "falls short"


def test_without_the_scores_there_is_no_gate():
    with pytest.raises(ValueError, match="ceiling_truth"):
        gate(table([5.0]).query("variant == 'unet'"), "truth")
