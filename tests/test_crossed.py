"""Statistics where the answer is known: planted gaps are covered, equal methods are not called different."""

from itertools import product

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from analysis import crossed
from analysis.gap import MARGIN_DB, p_values, verdict

NUM_TABLES = 500
SPREADS = {  # standard deviations over seeds, fields and what is left, dB
    "no seed matters": (0.0, 0.4, 0.2),
    "seeds hardly matter": (0.03, 0.5, 0.1),
    "fields hardly matter either": (0.03, 0.1, 0.4),
    "seeds as much as fields": (0.1, 0.4, 0.2),
    "seeds dominate": (1.0, 0.4, 0.2),
    "nothing but seeds": (0.5, 0.0, 0.0),
}
CASES = [*product((3, 5, 20), SPREADS)]


def tables(num_seeds, spread, gap=0.0, num=NUM_TABLES, num_fields=20, rng_seed=0):
    """Gaps of crossed seeds and fields, (num, S, F), around a true one."""
    rng, (seeds, fields, rest) = np.random.default_rng(rng_seed), SPREADS[spread]
    return (
        gap
        + rng.normal(0, seeds, (num, num_seeds, 1))
        + rng.normal(0, fields, (num, 1, num_fields))
        + rng.normal(0, rest, (num, num_seeds, num_fields))
    )


@pytest.mark.parametrize(("num_seeds", "spread"), CASES)
def test_intervals_of_a_planted_gap_cover_it(num_seeds, spread):
    found = crossed.interval(tables(num_seeds, spread, gap=-1.3, num=4 * NUM_TABLES))
    covered = ((found.ci_low <= -1.3) & (found.ci_high >= -1.3)).mean()
    assert 0.92 <= covered <= 0.98


@pytest.mark.parametrize(("num_seeds", "spread"), CASES)
def test_equal_methods_are_called_different_in_one_of_twenty_at_most(num_seeds, spread):
    found = crossed.interval(tables(num_seeds, spread, num=4 * NUM_TABLES, rng_seed=1))
    called = [verdict(low, high, np.nan, num_seeds) for low, high in zip(found.ci_low, found.ci_high, strict=True)]
    by_chance = 2 * np.sqrt(0.05 * 0.95 / len(called))  # of the share itself, were it 5 %
    assert np.isin(called, ["trails", "beats"]).mean() <= 0.05 + by_chance
    assert (found.p < 0.05).mean() <= 0.05 + by_chance


@pytest.mark.parametrize("num_seeds", [3, 5, 20])
def test_of_many_equal_methods_hardly_any_family_has_one_that_is_called_different(num_seeds):
    # six variants against two baselines: what is drawn belongs to the methods, so that the twelve gaps hang together
    num_wrong = 0
    for table in range(NUM_TABLES):
        of_methods = tables(num_seeds, "seeds as much as fields", num=8, rng_seed=table)
        gaps = (of_methods[:6, None] - of_methods[None, 6:]).reshape(12, num_seeds, 20)
        found, adjusted = crossed.interval(gaps), crossed.holm(crossed.interval(gaps).p)
        verdicts = [verdict(*one, num_seeds) for one in zip(found.ci_low, found.ci_high, adjusted, strict=True)]
        num_wrong += bool({"trails", "beats"} & set(verdicts))
    assert num_wrong / NUM_TABLES <= 0.05


def test_a_test_that_must_convince_the_bootstrap_too_rejects_no_more():
    gaps = tables(5, "seeds as much as fields", num=60)
    both, of_t = p_values(gaps), crossed.interval(gaps).p
    assert (both >= of_t).all() and (both == of_t).any()


@pytest.mark.parametrize(("num_seeds", "spread"), CASES)
def test_a_detectable_gap_is_found_in_four_of_five(num_seeds, spread):
    # the variances are estimated in each table: the gap that the root mean square of the estimates gives is planted
    planted = np.sqrt((crossed.detectable(tables(num_seeds, spread)) ** 2).mean())
    found = crossed.interval(tables(num_seeds, spread, gap=planted, num=4 * NUM_TABLES, rng_seed=5))
    assert (found.ci_low > 0).mean() == pytest.approx(0.8, abs=0.06)


def test_a_detectable_gap_is_that_of_the_noncentral_t_where_seeds_are_all_there_is():
    means = np.array([-1.0, -2.0, -1.5, -3.0])
    gap = crossed.detectable(np.repeat(means[None, :, None], 6, axis=2))[0]
    error, critical = stats.sem(means), stats.t.ppf(0.975, 3)
    assert stats.nct.sf(critical, 3, gap / error) == pytest.approx(0.8, abs=1e-6)


def test_more_seeds_and_more_fields_detect_smaller_gaps():
    few, many_seeds = (np.median(crossed.detectable(tables(num, "seeds as much as fields"))) for num in (3, 20))
    many_fields = np.median(crossed.detectable(tables(3, "seeds as much as fields", num_fields=100)))
    assert many_seeds < few and many_fields < few
    strict = np.median(crossed.detectable(tables(3, "seeds as much as fields"), level=0.05 / 30))
    assert strict > 2 * few


def test_the_t_interval_is_that_of_scipy_where_fields_do_not_differ():
    means = np.array([-1.0, -2.0, -1.5, -3.0])
    found = crossed.interval(np.repeat(means[None, :, None], 6, axis=2))
    expected = stats.ttest_1samp(means, 0)
    interval = expected.confidence_interval(0.95)
    assert found.gap[0] == pytest.approx(means.mean())
    assert (found.ci_low[0], found.ci_high[0]) == pytest.approx((interval.low, interval.high))
    assert found.p[0] == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_the_t_interval_is_that_of_scipy_where_seeds_do_not_differ(num_seeds):
    fields = np.random.default_rng(0).normal(-0.2, 0.5, 30)
    found = crossed.interval(np.broadcast_to(fields, (1, num_seeds, 30)))
    expected = stats.ttest_1samp(fields, 0)
    interval = expected.confidence_interval(0.95)
    assert (found.ci_low[0], found.ci_high[0]) == pytest.approx((interval.low, interval.high))
    assert found.p[0] == pytest.approx(expected.pvalue)


def test_the_variances_are_those_of_the_crossed_design_by_hand():
    # two seeds, three fields, rows of means 2 and 4, columns of means 2, 3 and 4, nothing else but one of +-0.5:
    # of the seeds' means 2, so 2 / 2 = 1; of the fields' means 1, so 1/3, less the rest's 0.5 / 6
    rest = np.array([[0.5, -0.5, 0.0], [-0.5, 0.5, 0.0]])
    gaps = 3 + np.array([[-1.0], [1.0]]) + np.array([[-1.0, 0.0, 1.0]]) + rest
    found = crossed.variances(gaps[None])
    assert found.seeds[0] == pytest.approx(1.0)
    assert found.fields[0] == pytest.approx(1 / 3 - 0.5 / 6)


def test_the_bootstrap_over_fields_is_that_of_scipy():
    fields = np.random.default_rng(0).normal(-1, 0.5, 30)
    found = crossed.bootstrap(np.broadcast_to(fields, (1, 3, 30)))
    expected = stats.bootstrap((fields,), np.mean, method="percentile", n_resamples=20_000, rng=1)
    interval = expected.confidence_interval
    assert (found.ci_low[0], found.ci_high[0]) == pytest.approx((interval.low, interval.high), abs=0.01)


def test_the_bootstrap_over_seeds_is_that_of_scipy():
    seeds = np.random.default_rng(2).normal(0.15, 0.5, 12)
    found = crossed.bootstrap(np.broadcast_to(seeds[:, None], (1, 12, 4)))
    expected = stats.bootstrap((seeds,), np.mean, method="percentile", n_resamples=20_000, rng=1)
    interval = expected.confidence_interval
    assert (found.ci_low[0], found.ci_high[0]) == pytest.approx((interval.low, interval.high), abs=0.01)
    below = np.mean(expected.bootstrap_distribution <= 0)
    assert found.p[0] == pytest.approx(2 * min(below, 1 - below), abs=0.02)


def test_the_bootstrap_resamples_rows_and_columns_and_not_entries():
    gaps = np.random.default_rng(3).normal(size=(2, 4, 7))
    drawn = crossed.bootstrap(gaps, seed=4, num_draws=3000)
    rng = np.random.default_rng(11)
    rows, columns = rng.integers(0, 4, (3000, 4)), rng.integers(0, 7, (3000, 7))
    means = np.stack([gaps[:, row][:, :, column].mean(axis=(1, 2)) for row, column in zip(rows, columns, strict=True)])
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    np.testing.assert_allclose(drawn.ci_low, low, atol=0.07)
    np.testing.assert_allclose(drawn.ci_high, high, atol=0.07)


def test_ties_are_those_of_two_one_sided_tests():
    # an interval of 95 % within the margin is both one-sided t tests at 2.5 %
    rng, decided = np.random.default_rng(0), set()
    for _ in range(200):
        means = rng.normal(rng.uniform(-0.1, 0.1), 0.04, 5)
        found = crossed.interval(np.repeat(means[None, :, None], 4, axis=2))
        above = stats.ttest_1samp(means, -MARGIN_DB, alternative="greater").pvalue
        below = stats.ttest_1samp(means, MARGIN_DB, alternative="less").pvalue
        ties = verdict(found.ci_low[0], found.ci_high[0], np.nan, 5) == "ties"
        of_statsmodels = DescrStatsW(means).ttost_mean(-MARGIN_DB, MARGIN_DB)[0]
        assert max(above, below) == pytest.approx(of_statsmodels) and ties == (of_statsmodels <= 0.025)
        decided.add(ties)
    assert decided == {True, False}


def test_methods_at_the_margin_are_called_a_tie_in_one_of_forty_at_most():
    gaps = tables(5, "seeds hardly matter", gap=MARGIN_DB, num=4 * NUM_TABLES) / 4 + 0.75 * MARGIN_DB
    found = crossed.interval(gaps)
    called = [verdict(low, high, np.nan, 5) == "ties" for low, high in zip(found.ci_low, found.ci_high, strict=True)]
    assert np.mean(called) <= 0.025 + 2 * np.sqrt(0.025 / len(called))


def test_holm_is_the_step_down_procedure_at_every_level():
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = rng.uniform(0, 0.2, 7) ** 2
        for level in (0.01, 0.05, 0.1):
            rejected = np.zeros(7, bool)
            for rank, k in enumerate(np.argsort(p)):  # from the smallest on, until one is not rejected
                if p[k] > level / (7 - rank):
                    break
                rejected[k] = True
            assert ((crossed.holm(p) <= level) == rejected).all()


def test_holm_is_that_of_statsmodels():
    rng = np.random.default_rng(1)
    for num in (1, 2, 7, 105):
        p = rng.uniform(0, 0.2, num) ** 2
        assert crossed.holm(p) == pytest.approx(multipletests(p, method="holm")[1], rel=1e-12)


def test_holm_by_hand():
    # Sorted .005 .01 .03 .04 times 4 3 2 1 = .02 .03 .06 .04; never falling: .02 .03 .06 .06.
    adjusted = crossed.holm(np.array([0.01, 0.04, 0.03, 0.005]))
    assert adjusted.tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert crossed.holm(np.array([0.9, 0.8])).tolist() == [1, 1]


def test_the_same_seed_gives_the_same_draws():
    gaps = np.random.default_rng(0).normal(size=(2, 3, 10))
    for one, other in zip(crossed.bootstrap(gaps, 1), crossed.bootstrap(gaps, 1), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_gap_that_is_not_finite_is_undecided_and_spoils_no_other():
    gaps = tables(3, "seeds as much as fields", gap=-2.0, num=2)
    gaps[0, 1, 4] = -np.inf
    for found in (crossed.interval(gaps), crossed.bootstrap(gaps)):
        assert np.isnan([found.gap[0], found.ci_low[0], found.ci_high[0]]).all() and found.p[0] == 1
        assert found.ci_high[1] < 0 and found.p[1] < 0.5
    assert np.isnan(crossed.detectable(gaps)[0]) and crossed.detectable(gaps)[1] > 0
    assert p_values(gaps)[0] == 1


def test_what_cannot_vary_has_an_interval_of_no_width_and_a_single_number_an_infinite_one():
    found = crossed.interval(np.stack([np.zeros((3, 4)), np.ones((3, 4))]))
    assert found.ci_low.tolist() == found.ci_high.tolist() == [0, 1] and found.p.tolist() == [1, 0]
    alone = crossed.interval(np.ones((1, 1, 1)))
    assert (alone.ci_low[0], alone.ci_high[0], alone.p[0]) == (-np.inf, np.inf, 1)
    assert crossed.detectable(np.ones((1, 1, 1)))[0] == np.inf
