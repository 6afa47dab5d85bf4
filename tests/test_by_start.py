"""Loops that begin at lower levels: their gaps by hand, what is said of them, and that nothing else reads them."""

import numpy as np
import pandas as pd
import pytest
from planted_experiment import ENDS as ENDS_FROM_T
from planted_experiment import UNET, plant

from analysis import gap
from analysis.by_start import gap_by_start, start_figure, start_sentences
from analysis.report import write_report
from analysis.starts import from_T, with_start

LOWER = {"direct": {5: -3.0, 4: -2.0, 3: -1.2, 2: 1.5, 1: 2.0}, "combine_z0_first": {s: -2.0 for s in range(1, 6)}}
BY_HAND = {  # of three seeds and two fields: unet and hdn at level 2, at level 1; direct from 2 at its end, from 1
    ("unet", 2): [[20, 22], [21, 22], [20, 25]],
    ("hdn", 2): [[24, 24], [24, 24], [24, 24]],
    ("unet", 1): [[30, 31], [30, 33], [30, 32]],
    ("hdn", 1): [[29, 29], [29, 29], [29, 29]],
}
ENDS = {2: [[19, 21], [19, 21], [19, 21]], 1: [[30, 30], [30, 30], [30, 30]]}


def by_hand():
    rows = []
    for (name, level), scores in BY_HAND.items():
        rows += [(s, name, f"f{f}", 2 - level, level, 2, value) for (s, f), value in np.ndenumerate(scores)]
    for start, scores in ENDS.items():
        name = "direct" if start == 2 else "direct_from_1"
        for (s, f), value in np.ndenumerate(scores):
            rows += [(s, name, f"f{f}", k, start - k, start, value - (k + 1 < start)) for k in range(start)]
    table = pd.DataFrame(rows, columns=["seed", "variant", "field", "step", "level", "start", "psnr"])
    return table.assign(psnr_ri=table["psnr"])


def test_a_loop_is_compared_with_the_baselines_at_the_level_that_it_begins_at():
    found = gap.gaps(by_hand()).query("metric == 'psnr'").set_index(["variant", "step", "baseline"])
    assert found["gap"].to_dict() == pytest.approx(
        {
            ("direct", 0, "unet"): 19.0 - 130 / 6,
            ("direct", 0, "hdn"): 19.0 - 24,
            ("direct", 1, "unet"): 20.0 - 130 / 6,
            ("direct", 1, "hdn"): 20.0 - 24,
            ("direct_from_1", 0, "unet"): 30 - 186 / 6,
            ("direct_from_1", 0, "hdn"): 30 - 29,
        }
    )
    assert found["start"].to_dict() == {key: 1 if key[0].endswith("1") else 2 for key in found.index}


def test_holms_family_is_that_of_the_loops_from_the_top():
    table = by_hand()
    found, alone = gap.gaps(table), gap.gaps(from_T(table))
    pd.testing.assert_frame_equal(from_T(found), alone)
    assert found[found["start"] == 1]["p_holm"].isna().all() and alone[alone["step"] == 1]["p_holm"].notna().all()
    assert set(from_T(table)["variant"]) == {"unet", "hdn", "direct"}


def test_a_table_without_starts_is_one_of_loops_from_the_top():
    table = from_T(by_hand())
    pd.testing.assert_frame_equal(with_start(table.drop(columns="start"))[table.columns], table, check_dtype=False)


def test_a_start_without_scores_of_a_baseline_is_refused():
    table = by_hand()
    lacking = table[~((table["variant"] == "hdn") & (table["level"] == 1))]
    with pytest.raises(ValueError, match=r"A loop from level 1 needs a baseline there, but hdn has no scores\."):
        gap.gaps(lacking)


def rows_of(gaps_db, num_seeds=3, baseline="hdn"):
    """A planted table: start → (gap, verdict)."""
    return pd.DataFrame(
        {"variant": "direct", "start": start, "metric": "psnr", "baseline": name, "gap": value + better}
        | {"ci_low": value + better - 0.2, "ci_high": value + better + 0.3, "verdict": verdict}
        | {"num_fovs": 9, "num_seeds": num_seeds}
        for start, (value, verdict) in gaps_db.items()
        for name, better in ((baseline, 0.0), ("unet", 0.5))
    )


def test_the_sentence_says_from_which_level_on_a_loop_no_longer_trails():
    (said,) = start_sentences(rows_of({3: (-6.0, "trails"), 2: (-1.0, "trails"), 1: (0.0, "ties")}))
    assert said == (
        "direct trails the best baseline when it begins at t = 3 and 2, and no longer from t = 1 down: "
        "from there it ends 0.00 dB [-0.20, 0.30] above HDN (ties), and 6.00 dB [5.70, 6.20] below HDN from t = 3."
    )
    (said,) = start_sentences(rows_of({3: (-6.0, "trails"), 2: (-1.0, "trails"), 1: (-0.9, "trails")}))
    assert said == (
        "direct trails the best baseline from every level that it begins at: "
        "it ends 6.00 dB [5.70, 6.20] below HDN from t = 3 and 0.90 dB [0.60, 1.10] below HDN from t = 1."
    )
    (said,) = start_sentences(rows_of({2: (0.1, "undecided"), 1: (0.9, "beats")}))
    assert said.startswith("direct is not found to trail the best baseline from any level")
    (said,) = start_sentences(rows_of({3: (-1, "trails"), 2: (0.1, "undecided"), 1: (-1, "trails")}))
    assert "not when it begins at t = 2, but when it begins at t = 3 and 1" in said
    (said,) = start_sentences(rows_of({2: (-6.0, "undecided"), 1: (-1.0, "undecided")}, num_seeds=2))
    assert said.endswith("with fewer than three seeds it is not decided from which levels it trails.")
    (said,) = start_sentences(rows_of({2: (np.nan, "undecided"), 1: (np.nan, "undecided")}))
    assert said == "direct comes to a finite end from no level."


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    few = {name: ENDS_FROM_T[name] for name in (*LOWER, "stop", "direct_anchored", "teacher_forced")}
    return write_report(root, plant(root, seeds=(1, 2, 3), variants=few, lower=LOWER))


def test_the_report_shows_the_gap_by_start(report):
    page = report.read_text()
    assert 'id="by-start"' in page and "alt=\"Gap of each loop's end to each baseline".replace("'", "&#39;") in page
    drawn = pd.read_csv(report.parent / "figures" / "gap_by_start.csv")
    assert set(drawn["variant"]) == set(LOWER) and set(drawn["start"]) == set(range(1, 7))
    to_unet = drawn[drawn["baseline"] == "unet"].set_index(["variant", "start"])["gap"]
    for name, planted in LOWER.items():
        for start, value in planted.items():
            assert to_unet[name, start] == pytest.approx(value, abs=0.1)
    # 1.2 dB better than the UNet, HDN is the best baseline at every level
    assert "Direct trails the best baseline when it begins at t = 6, 5, 4 and 3, and no longer from t = 2 down" in page
    assert "Combine ẑ₀ first trails the best baseline from every level that it begins at" in page


def test_nothing_but_that_section_speaks_of_lower_starts(report):
    page, tables = report.read_text(), {path.name: path for path in report.parent.glob("*.csv")}
    of_all = pd.read_csv(tables.pop("gap.csv"))
    assert (
        "direct_from_3" in set(of_all["variant"])
        and not of_all[of_all["start"] == 6]["variant"].str.contains("_from_").any()
    )
    trajectories = pd.read_parquet(report.parent / "trajectories.parquet")
    assert (trajectories[trajectories["variant"] == "direct_from_3"]["start"] == 3).all()
    for path in [*tables.values(), *(report.parent / "figures").glob("*.csv")]:
        assert "_from_" not in path.read_text(), path.name
    assert "from 3" not in page
    assert trajectories[trajectories["variant"] == "unet"]["psnr"].mean() > UNET


def test_without_lower_starts_there_is_no_such_section():
    table = gap.gaps(from_T(by_hand()))
    assert not len(gap_by_start(table))
    several = gap_by_start(gap.gaps(by_hand()))
    assert several[["variant", "start"]].drop_duplicates().to_numpy().tolist() == [["direct", 2], ["direct", 1]]
    (axes,) = start_figure(several).axes
    assert len(axes.containers) == 2, "a line per baseline"


def test_a_loop_that_diverged_leaves_the_axes():
    (axes,) = start_figure(rows_of({3: (-300.0, "undecided"), 2: (np.nan, "undecided"), 1: (0.9, "beats")})).axes
    assert axes.get_ylim()[0] == -60 and axes.get_ylim()[1] > 1
    assert axes.get_xlim()[0] > axes.get_xlim()[1], "the haziest first"
