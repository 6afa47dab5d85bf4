"""Gaps where the answer is known: planted gaps are covered, equal methods are not called different."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import gap


def planted(gaps_db, num_seeds=5, num_fields=20, seed_sd=0.05, field_sd=0.3, rng_seed=0):
    """Scores of both baselines and of variants whose true gap at each step is given: {name: [gap, …]}."""
    rng = np.random.default_rng(rng_seed)
    rows = []
    for s in range(num_seeds):
        drift = {name: rng.normal(0, seed_sd) for name in gaps_db}
        for f in range(num_fields):
            base = 30 + rng.normal(0, 2)
            for name in ("unet", "hdn"):
                rows.append((s, name, f"f{f}", 0, len(next(iter(gaps_db.values()))), base))
            for name, by_step in gaps_db.items():
                for step, true_gap in enumerate(by_step):
                    value = base + true_gap + drift[name] + rng.normal(0, field_sd)
                    rows.append((s, name, f"f{f}", step, len(by_step) - step, value))
    table = pd.DataFrame(rows, columns=["seed", "variant", "field", "step", "level", "psnr"])
    return table.assign(psnr_ri=table["psnr"])


def test_columns_and_signs():
    table = gap.gaps(planted({"direct": [-0.2, -6.0], "stop": [2.0, 2.0]}))
    assert tuple(table.columns) == gap.COLUMNS
    assert len(table) == 2 * 2 * 2 * 2  # variants, steps, metrics, baselines
    assert set(table["baseline"]) == {"unet", "hdn"}
    assert (table["num_fovs"] == 20).all() and (table["num_seeds"] == 5).all()
    final = table[table["step"] == 1].set_index("variant")
    assert (final.loc["direct", "gap"] < -5).all() and (final.loc["direct", "verdict"] == "trails").all()
    assert (final.loc["stop", "gap"] > 1).all() and (final.loc["stop", "verdict"] == "beats").all()
    assert final["p_holm"].notna().all() and table[table["step"] == 0]["p_holm"].isna().all()
    assert (table[table["step"] == 0]["level"] == 2).all()


@pytest.mark.parametrize(("num_seeds", "seed_sd"), [(3, 0.02), (3, 0.5), (5, 0.3)])
def test_a_planted_gap_is_covered(num_seeds, seed_sd):
    true_gap, rng = -1.0, np.random.default_rng(7)
    seeds = rng.normal(0, seed_sd, (200, num_seeds, 1))
    fields = rng.normal(0, 0.4, (200, 1, 20))
    found = gap.interval(true_gap + seeds + fields + rng.normal(0, 0.2, (200, num_seeds, 20)))
    covered = ((found.ci_low <= true_gap) & (true_gap <= found.ci_high)).mean()
    assert covered >= 0.9


def test_equal_methods_are_rarely_called_different():
    rng = np.random.default_rng(3)
    differences = rng.normal(0, 0.3, (400, 3, 1)) + rng.normal(0, 0.4, (400, 3, 20))
    found = gap.interval(differences)
    assert (found.p < 0.05).mean() <= 0.05
    called = [gap.verdict(low, high, np.nan, 3) for low, high in zip(found.ci_low, found.ci_high, strict=True)]
    assert np.mean([name in ("trails", "beats") for name in called]) <= 0.07


def test_t_interval_is_that_of_scipy():
    # No spread over fields and much over seeds: the t interval is the wider and its p the larger.
    means = np.array([-1.0, -2.0, -1.5, -3.0])
    found = gap.interval(np.repeat(means[None, :, None], 6, axis=2))
    expected = stats.ttest_1samp(means, 0)
    interval = expected.confidence_interval(0.95)
    assert found.gap[0] == pytest.approx(means.mean())
    assert (found.ci_low[0], found.ci_high[0]) == pytest.approx((interval.low, interval.high))
    assert found.p[0] == pytest.approx(expected.pvalue)


def test_bootstrap_over_fields_is_that_of_scipy():
    # No spread over seeds: what remains is the percentile bootstrap over fields.
    fields = np.random.default_rng(0).normal(-1, 0.5, 30)
    found = gap.interval(np.broadcast_to(fields, (1, 3, 30)), num_draws=20_000)
    expected = stats.bootstrap((fields,), np.mean, method="percentile", n_resamples=20_000, rng=1)
    interval = expected.confidence_interval
    assert (found.ci_low[0], found.ci_high[0]) == pytest.approx((interval.low, interval.high), abs=0.02)


def test_the_same_seed_gives_the_same_interval():
    differences = np.random.default_rng(0).normal(size=(2, 3, 10))
    for one, other in zip(gap.interval(differences, 1), gap.interval(differences, 1), strict=True):
        np.testing.assert_array_equal(one, other)


def test_holm_by_hand():
    # Sorted .005 .01 .03 .04 times 4 3 2 1 = .02 .03 .06 .04; never falling: .02 .03 .06 .06.
    adjusted = gap.holm(np.array([0.01, 0.04, 0.03, 0.005]))
    assert adjusted.tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert gap.holm(np.array([0.9, 0.8])).tolist() == [1, 1]


def test_verdicts():
    assert gap.verdict(-3, -1, 0.001, 3) == "trails"
    assert gap.verdict(1, 3, 0.001, 3) == "beats"
    assert gap.verdict(-0.05, 0.09, 0.5, 3) == "ties"
    assert gap.verdict(0.02, 0.09, 0.001, 3) == "ties"
    assert gap.verdict(-0.05, 0.5, 0.5, 3) == "undecided"
    assert gap.verdict(1, 3, 0.06, 3) == "undecided"
    assert gap.verdict(1, 3, np.nan, 3) == "beats"


def test_fewer_than_three_seeds_decide_nothing():
    table = gap.gaps(planted({"direct": [-9.0, -9.0]}, num_seeds=2, seed_sd=0))
    assert (table["verdict"] == "undecided").all()
    one = gap.gaps(planted({"direct": [-9.0]}, num_seeds=1))
    assert (one["verdict"] == "undecided").all() and one["ci_low"].notna().all()


def test_an_exact_copy_of_the_baseline_ties():
    table = planted({"stop": [0.0]}, num_seeds=3, seed_sd=0, field_sd=0)
    found = gap.gaps(table)
    assert (found["verdict"] == "ties").all() and (found["p_holm"] == 1).all()


def test_a_loop_that_diverged_is_undecided_and_spoils_no_other():
    table = planted({"direct": [-1.0], "residual": [-1.0]}, seed_sd=0, field_sd=0.01)
    table.loc[(table["variant"] == "residual") & (table["field"] == "f3"), ["psnr", "psnr_ri"]] = np.nan
    found = gap.gaps(table).set_index("variant")
    assert (found.loc["residual", "verdict"] == "undecided").all() and found.loc["residual", "gap"].isna().all()
    assert (found.loc["direct", "ci_high"] < 0).all()


def test_scores_that_are_not_crossed_are_refused():
    table = planted({"direct": [-1.0]})
    with pytest.raises(ValueError, match="100 scores are needed"):
        gap.gaps(table.drop(table.index[table["variant"] == "direct"][0]))
    with pytest.raises(ValueError, match="one of the baselines"):
        gap.gaps(table[table["variant"] == "direct"])


def test_gap_between_two_baselines():
    table = planted({"direct": [-1.0]})
    table.loc[table["variant"] == "hdn", "psnr_ri"] += 1.5
    assert gap.gap_between(table, "hdn", "unet") == pytest.approx((1.5, 1.5, 1.5))
