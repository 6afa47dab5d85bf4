"""Two runs side by side say what differs, and by how much."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.comparison import Run, comparison_text, differing, flattened, paired_gaps


def scores(shift=0.0, variants=("direct",), seeds=(1,), num_fields=6, rng_seed=0):
    rng = np.random.default_rng(rng_seed)
    of_field = rng.normal(30, 2, num_fields)
    rows = [
        {"seed": seed, "variant": variant, "field": f"f{f}", "step": step, "psnr": value, "psnr_ri": value + 1}
        for seed in seeds
        for variant in variants
        for f in range(num_fields)
        for step in (0, 1)
        for value in [of_field[f] + (shift + 0.1 * f if step == 1 else 0.0)]
    ]
    return pd.DataFrame(rows)


def test_only_what_differs_is_named_by_its_path():
    first = {"lr": 0.1, "alpha": {"kind": "power", "exponent": 2.0}, "only_here": 1}
    second = {"lr": 0.1, "alpha": {"kind": "power", "exponent": 3.0}}
    assert flattened(first) == {"lr": 0.1, "alpha/kind": "power", "alpha/exponent": 2.0, "only_here": 1}
    assert differing(first, second) == [("alpha/exponent", 2.0, 3.0), ("only_here", 1, None)]


def test_the_gap_of_two_trials_is_the_paired_t_interval_at_the_last_step():
    gaps, why_not = paired_gaps(scores(), scores(shift=-2.0, rng_seed=0))
    differences = np.full(6, -2.0)
    assert why_not == "" and [gap.metric for gap in gaps] == ["psnr", "psnr_ri"]
    assert gaps[0].gap == pytest.approx(differences.mean())
    later = scores(shift=-2.0)
    later.loc[later["step"] == 1, "psnr"] += np.arange(6) ** 2 / 10
    found = paired_gaps(scores(), later)[0][0]
    expected = stats.ttest_1samp(-2.0 + np.arange(6) ** 2 / 10, 0).confidence_interval(0.95)
    assert (found.ci_low, found.ci_high) == pytest.approx((expected.low, expected.high))


def test_two_trials_of_different_variants_are_compared_and_experiments_by_the_variants_of_both():
    gaps, _ = paired_gaps(scores(), scores(variants=("refine_R",)))
    assert {gap.variant for gap in gaps} == {"direct → refine R"}
    gaps, _ = paired_gaps(scores(variants=("direct", "bridge", "stop")), scores(variants=("stop", "direct")))
    assert [gap.variant for gap in gaps] == ["direct", "direct", "stop", "stop"]


def test_what_cannot_be_paired_is_said():
    assert "of the iterative stage" in paired_gaps(pd.DataFrame(), scores())[1]
    assert "different fields" in paired_gaps(scores(), scores(num_fields=5))[1]
    assert "different seeds: 1, and 2, 3." in paired_gaps(scores(), scores(seeds=(2, 3)))[1]
    of_two = scores(variants=("direct", "stop"))
    assert "in common" in paired_gaps(of_two, scores(variants=("bridge", "residual")))[1]


def test_a_run_with_a_score_missing_is_refused_and_not_called_diverged():
    whole = scores(seeds=(1, 2))
    part = whole[(whole["seed"] == 1) | (whole["field"] != "f3")]
    with pytest.raises(ValueError, match="Fields and seeds must be crossed: 12 scores are needed, but direct has 11"):
        paired_gaps(whole, part)
    whole = scores(variants=("direct", "stop"), seeds=(1, 2))
    part = whole[(whole["seed"] == 1) | (whole["variant"] != "direct")]
    with pytest.raises(ValueError, match=r"on the same seeds, but have \[1, 2\] and \[1\]"):
        paired_gaps(whole, part)


def test_the_text_has_settings_metrics_and_gap():
    first = Run("a/0", {"lambda_cyc": 10.0, "lr": 1e-3}, {"val/psnr": 30.0, "val/only": 1.0}, scores())
    second = Run("a/1", {"lambda_cyc": 20.0, "lr": 1e-3}, {"val/psnr": 31.5}, scores(shift=1.0))
    text = comparison_text(first, second)
    assert "lambda_cyc  10   20" in text and "lr" not in text.split("\n\n")[0]
    assert "val/psnr  30   31.5  +1.5" in text and "val/only" not in text
    assert "a/1 - a/0, paired by field" in text and "+1.00 [+1.00, +1.00]" in text
    assert comparison_text(first, first).startswith("All settings are the same.")
