"""Planted studies in which it is known what matters, where the best value lies, and what refining brings."""

import math

import numpy as np
import pandas as pd
import pytest

from analysis.importance import importance_sentences, importances
from analysis.isolation import boundary_warnings, isolation, isolation_figure
from analysis.loop_settings import alpha_figure, alpha_schedules, refinements, refinements_figure
from analysis.spaces import Space
from dehazing.schedules import combine_alpha

SPACE = Space(
    metric="val/psnr",
    maximise=True,
    ranges={
        "lambda_cyc": {"low": 1.0, "high": 100.0, "log": True},
        "shared": {"choices": [False, True]},
        "lr": {"low": 1e-4, "high": 1e-2, "log": True},
        "idle": {"low": 0.0, "high": 1.0, "log": False},
    },
    nuisance=frozenset({"lr"}),
    is_recorded=True,
)


def planted(num=60, best=10.0, rng_seed=0, space=SPACE):
    """λ_cyc counts most, with its best value given; lr counts a little; `shared` and `idle` nothing."""
    rng = np.random.default_rng(rng_seed)
    lambda_cyc, lr = 10 ** rng.uniform(0, 2, num), 10 ** rng.uniform(-4, -2, num)
    objective = 30 - 8 * np.log10(lambda_cyc / best) ** 2 - 1.0 * np.log10(lr / 1e-3) ** 2
    return pd.DataFrame(
        {
            "study": "degrader",
            "state": "COMPLETE",
            "number": range(num),
            "params.lambda_cyc": lambda_cyc,
            "params.lr": lr,
            "params.shared": rng.integers(0, 2, num).astype(bool),
            "params.idle": rng.uniform(0, 1, num),
            f"metrics.{space.metric}": objective if space.maximise else -objective,
        }
    )


@pytest.mark.parametrize("maximise", [True, False])
def test_what_moves_the_objective_is_named_first_by_both_and_what_does_not_is_not(maximise):
    space = SPACE._replace(maximise=maximise)
    table = importances(planted(space=space), {"degrader": space})
    for _, rows in table.groupby("evaluator"):
        shares = rows.set_index("parameter")["importance"]
        assert shares.idxmax() == "lambda_cyc" and shares["lambda_cyc"] > 0.5
        floor = rows["floor"].iloc[0]
        assert shares["lambda_cyc"] > floor and shares["idle"] < 0.1
    assert set(table.loc[table["parameter"] == "lr", "role"]) == {"nuisance"}
    (sentence,) = importance_sentences(table)
    assert sentence.startswith("degrader (val/psnr): PED-ANOVA: lambda_cyc ") and "fANOVA: lambda_cyc " in sentence


def test_too_few_trials_give_no_number():
    table = importances(planted(num=19), {"degrader": SPACE})
    assert table["importance"].isna().all()
    assert importance_sentences(table) == ["degrader: 19 trials tell nothing; 20 are needed."]


def test_a_bin_holds_its_best_trial_whatever_the_nuisance_was_and_nuisance_has_no_bins():
    trials = planted(num=200)
    table = isolation(trials, {"degrader": SPACE})
    assert set(table["parameter"]) == {"lambda_cyc", "shared", "idle"}
    of_lambda = table[table["parameter"] == "lambda_cyc"]
    assert of_lambda["num_trials"].sum() == 200 and of_lambda["low"].min() == 1 and of_lambda["high"].max() == 100
    ratios = of_lambda["high"] / of_lambda["low"]
    np.testing.assert_allclose(ratios, ratios.iloc[0])  # equal widths on the range's own scale
    for row in of_lambda.itertuples():
        inside = trials[trials["params.lambda_cyc"].between(row.low, row.high)]
        best = inside.loc[inside["metrics.val/psnr"].idxmax()]
        assert (row.best, row.number) == (best["metrics.val/psnr"], best["number"])
    peak = of_lambda.loc[of_lambda["best"].idxmax()]
    assert peak["low"] <= 10 * 1.3 and peak["high"] >= 10 / 1.3
    assert list(table.loc[table["parameter"] == "shared", "bin"]) == ["False", "True"]
    assert isolation_figure(table, trials, {"degrader": SPACE}, "degrader").axes


def test_a_best_trial_on_the_end_of_its_range_is_warned_of_and_one_inside_is_not():
    trials = planted(best=100.0)
    trials.loc[0, ["params.lambda_cyc", "params.lr", "metrics.val/psnr"]] = [99.0, 1e-3, 40.0]
    trials.loc[0, "params.idle"] = 0.5
    (sentence,) = boundary_warnings(trials, {"degrader": SPACE})
    assert "lambda_cyc = 99 on the upper end of its range 1 to 100" in sentence
    trials.loc[0, "params.lambda_cyc"] = 10.0
    assert boundary_warnings(trials, {"degrader": SPACE}) == []
    assert boundary_warnings(trials, {"degrader": SPACE._replace(is_recorded=False)}) == []


def loops():
    variants = ["direct", "refine_G", "refine_G", "refine_R", "combine_z"]
    return pd.DataFrame(
        {
            "study": "iterative",
            "state": "COMPLETE",
            "number": range(5),
            "params.variant": variants,
            "params.num_refinements": [math.nan, 1, 2, 1, math.nan],
            "params.alpha/kind": [None, None, None, None, "power"],
            "params.alpha/exponent": [math.nan] * 4 + [2.0],
            "params.direction": [None, None, None, None, "falling"],
            "metrics.val/gap_db": [-5.0, -6.0, -7.5, -8.0, -3.0],
        }
    )


LOOPS = Space(
    metric="val/gap_db",
    maximise=True,
    ranges={
        "variant": {"choices": ["direct", "refine_G", "refine_R", "combine_z"]},
        "num_refinements": {"low": 1, "high": 2, "log": False},
    },
    nuisance=frozenset(),
    is_recorded=True,
)


def test_refinements_begin_at_direct_and_have_the_best_of_each_number():
    table = refinements(loops(), {"iterative": LOOPS})
    found = {(row.variant, row.K): row.best for row in table.itertuples()}
    assert found == {("direct", 0): -5.0, ("refine_G", 1): -6.0, ("refine_G", 2): -7.5, ("refine_R", 1): -8.0}
    assert refinements_figure(table).axes


def test_schedules_are_those_of_the_loop_from_T_to_the_last_that_combines():
    confirmation = {"T": 4, "loops": [{"name": "combine_z_first", "variant": "combine_z", "alpha": {"kind": "linear"}}]}
    table = alpha_schedules(confirmation, loops(), {"iterative": LOOPS})
    tried, confirmed = (table[table["from"] == one].set_index("t")["alpha"] for one in ("trial", "confirmed"))
    assert list(tried.index) == [4, 3, 2]
    power = combine_alpha({"kind": "power", "exponent": 2.0}, 4, "falling")
    np.testing.assert_allclose(tried, [float(power[t]) for t in (4, 3, 2)])
    linear = combine_alpha({"kind": "linear"}, 4, "rising")
    np.testing.assert_allclose(confirmed, [float(linear[t]) for t in (4, 3, 2)])
    assert alpha_figure(table).axes
