"""What the sample can show: spreads that were planted are found again, and a gap of that size is found in 80 %."""

import numpy as np
import pandas as pd
import pytest
from test_gap import planted

from analysis import crossed
from analysis.detect import COLUMNS, detectable_gaps, detectable_sentence


def test_spreads_that_were_planted_are_found_again():
    # the mean over many tables: the variances are unbiased where they are not cut at 0
    tables = [
        detectable_gaps(planted({"direct": [-1.0]}, num_seeds=6, seed_sd=0.5, field_sd=0.3, rng_seed=k))
        for k in range(60)
    ]
    found = pd.concat(tables)
    assert tuple(found.columns) == COLUMNS
    assert np.sqrt((found["sd_seeds"] ** 2).mean()) == pytest.approx(0.5, rel=0.15)
    assert np.sqrt((found["sd_rest"] ** 2).mean()) == pytest.approx(0.3, rel=0.05)  # drawn anew for every seed
    assert np.sqrt((found["sd_fields"] ** 2).mean()) < 0.1
    assert found["gap"].mean() == pytest.approx(-1, abs=0.1)


def test_where_seeds_limit_more_seeds_help_and_more_fields_do_not():
    seeds = detectable_gaps(planted({"direct": [-1.0]}, num_seeds=5, seed_sd=1.0, field_sd=0.1)).iloc[0]
    assert seeds["twice_seeds"] < 0.7 * seeds["detectable"]
    assert seeds["twice_fields"] == pytest.approx(seeds["detectable"], rel=0.02)


def test_twice_the_fields_is_what_twice_the_fields_would_show():
    rng = np.random.default_rng(0)

    def fields(num):
        return rng.normal(0, 0.5, (400, 1, num)) + rng.normal(0, 0.1, (400, 4, num))

    small, large = fields(20), fields(40)
    found = crossed.variances(small)
    twice = crossed.Variances(found.seeds / 2, found.fields / 2, 4, 40)  # nothing but the rest goes through the seeds
    assert np.median(crossed.detectable_with(twice)) == pytest.approx(np.median(crossed.detectable(large)), rel=0.05)


def test_the_last_step_of_every_variant_is_judged_and_holm_asks_for_more():
    table = detectable_gaps(planted({"direct": [-0.2, -6.0], "stop": [2.0, 2.0]}))
    assert len(table) == 4 and (table["detectable_holm"] > table["detectable"]).all()
    text = detectable_sentence(table)
    assert text.startswith("20 fields and 5 seeds show a true gap of 0.") and "(the median of 4 comparisons" in text


def test_with_a_single_number_nothing_can_be_shown_and_nothing_is_said():
    table = detectable_gaps(planted({"direct": [-1.0]}, num_seeds=1, num_fields=1))
    assert np.isinf(table["detectable"]).all() and detectable_sentence(table) == ""


def test_a_loop_that_diverged_is_left_out_of_the_sentence():
    trajectories = planted({"direct": [-1.0], "residual": [-1.0]})
    trajectories.loc[trajectories["variant"] == "residual", "psnr"] = np.nan
    table = detectable_gaps(trajectories)
    assert table.loc[table["variant"] == "residual", "detectable"].isna().all()
    assert "the median of 2 comparisons" in detectable_sentence(table)
