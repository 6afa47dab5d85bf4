"""The gap table: what is paired with what, its signs, its verdicts and whom it refuses."""

import numpy as np
import pandas as pd
import pytest

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
