"""Loops that begin at lower levels: their gaps by hand, what is said of them, and that nothing else reads them."""

import numpy as np
import pandas as pd
import pytest
from planted_experiment import ENDS as ENDS_FROM_T
from planted_experiment import UNET, plant

from analysis import gap
from analysis.by_start import by_start, gap_by_start, start_figure, start_sentences
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


def test_the_loops_from_the_top_and_those_from_all_lower_levels_are_families_of_holm_by_themselves():
    table = by_hand()
    found, alone = gap.gaps(table), gap.gaps(from_T(table))
    pd.testing.assert_frame_equal(from_T(found), alone)
    assert alone[alone["step"] == 1]["p_holm"].notna().all() and alone[alone["step"] == 0]["p_holm"].isna().all()
    assert set(from_T(table)["variant"]) == {"unet", "hdn", "direct"}
    cells, differences = gap.paired(table)
    lower = ((cells["start"] == 1) & (cells["metric"] == "psnr")).to_numpy()
    low, high = sorted(gap.p_values(differences[lower]))  # two tests: the smaller p twice, the larger no less
    of_lower = sorted(found[(found["start"] == 1) & (found["metric"] == "psnr")]["p_holm"])
    assert of_lower == pytest.approx([min(1, 2 * low), max(min(1, 2 * low), high)])


def test_a_table_without_starts_is_one_of_loops_from_the_top():
    table = from_T(by_hand())
    pd.testing.assert_frame_equal(with_start(table.drop(columns="start"))[table.columns], table, check_dtype=False)


def test_a_start_without_scores_of_a_baseline_is_refused():
    table = by_hand()
    lacking = table[~((table["variant"] == "hdn") & (table["level"] == 1))]
    with pytest.raises(ValueError, match=r"A loop from level 1 needs a baseline there, but hdn has no scores\."):
        gap.gaps(lacking)


def rows_of(gaps_db, num_seeds=3, baseline="hdn", metric="psnr", variant="direct"):
    """A planted table: start → (gap, verdict); intervals from 0.2 below the gap to 0.3 above."""
    return pd.DataFrame(
        {"variant": variant, "start": start, "metric": metric, "baseline": name, "gap": value + better}
        | {"ci_low": value + better - 0.2, "ci_high": value + better + 0.3, "verdict": verdict}
        | {"num_fovs": 9, "num_seeds": num_seeds}
        for start, (value, verdict) in gaps_db.items()
        for name, better in ((baseline, 0.0), ("unet", 0.5))
    )


def test_the_sentence_says_from_which_levels_a_loop_trails_and_what_is_undecided():
    (said,) = start_sentences(rows_of({3: (-6.0, "trails"), 2: (-1.0, "trails"), 1: (0.0, "undecided")}))
    assert said == (
        "By its intervals, direct trails the best baseline from t = 3 and 2, and is undecided against it "
        "from t = 1: it ends 6.00 dB below HDN [5.70, 6.20] from t = 3 and 0.00 dB above HDN [-0.20, 0.30] from t = 1."
    )
    (said,) = start_sentences(rows_of({3: (-6.0, "trails"), 2: (-1.0, "trails"), 1: (-0.9, "trails")}, baseline="unet"))
    assert said == (
        "By its intervals, direct trails the best baseline from every level that it begins at: "
        "it ends 6.00 dB below the UNet [5.70, 6.20] from t = 3 and 0.90 dB below the UNet [0.60, 1.10] from t = 1."
    )
    (said,) = start_sentences(rows_of({2: (0.1, "undecided"), 1: (0.9, "beats")}))
    assert "direct beats the best baseline from t = 1, and is undecided against it from t = 2: it ends" in said
    (said,) = start_sentences(rows_of({2: (0.1, "undecided"), 1: (0.0, "undecided")}))
    assert "direct is undecided against the best baseline from every level that it begins at: it ends" in said
    tied = rows_of({2: (-6.0, "trails"), 1: (0.0, "ties")}).assign(ci_high=lambda t: t["gap"] + 0.05)
    (said,) = start_sentences(tied.assign(ci_low=lambda t: t["gap"] - 0.05))
    assert "direct trails the best baseline from t = 2, and ties with it from t = 1: it ends" in said
    (said,) = start_sentences(rows_of({2: (-6.0, "undecided"), 1: (-1.0, "undecided")}, num_seeds=2))
    assert said.startswith("With fewer than three seeds direct is not judged: it ends 6.00 dB below HDN")
    assert "undecided" not in said and "trails" not in said


def test_holms_correction_does_not_turn_the_sentence_upside_down():
    """From T the largest gap of all, undecided in its larger family; lower ones that pass in theirs."""
    (said,) = start_sentences(rows_of({3: (-37.4, "undecided"), 2: (-9.0, "trails"), 1: (-3.0, "trails")}))
    assert said == (
        "By its intervals, direct trails the best baseline from every level that it begins at: "
        "it ends 37.40 dB below HDN [37.10, 37.60] from t = 3 and 3.00 dB below HDN [2.70, 3.20] from t = 1. "
        "Corrected for the number of comparisons, the verdict is undecided from t = 3."
    )


def test_a_level_without_a_finite_end_is_named_before_every_other_is_spoken_of():
    (said,) = start_sentences(rows_of({3: (np.nan, "undecided"), 2: (-6.0, "trails"), 1: (-1.0, "trails")}))
    assert said == (
        "direct comes to no finite end from t = 3. By its intervals, direct trails the best baseline "
        "from every other level: it ends 6.00 dB below HDN [5.70, 6.20] from t = 2 and 1.00 dB below HDN [0.70, 1.20] "
        "from t = 1."
    )
    (said,) = start_sentences(rows_of({2: (np.nan, "undecided"), 1: (-1.0, "trails")}))
    assert said.endswith("from every other level: it ends 1.00 dB below HDN [0.70, 1.20] from t = 1.")
    (said,) = start_sentences(rows_of({2: (np.nan, "undecided"), 1: (np.nan, "undecided")}))
    assert said == "direct comes to a finite end from no level."


def test_what_is_gain_and_offset_is_told_apart():
    invariant = rows_of({2: (-11.0, "trails"), 1: (-1.0, "trails")}, metric="psnr_ri")
    (said,) = start_sentences(rows_of({2: (-37.0, "trails"), 1: (-3.0, "trails")}), invariant)
    assert said.endswith(
        "With brightness and contrast forgiven it ends 11.00 dB below HDN [10.70, 11.20] from t = 2 "
        "and 1.00 dB below HDN [0.70, 1.20] from t = 1."
    )


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
    assert "direct trails the best baseline from t = 6, 5, 4 and 3, and beats it from t = 2 and 1" in page
    assert "combine ẑ₀ first trails the best baseline from every level that it begins at" in page
    assert "Begun at T alone, and not here: " in page and "direct (anchored)" in page
    invariant = pd.read_csv(report.parent / "figures" / "gap_by_start_ri.csv")
    assert set(invariant["metric"]) == {"psnr_ri"} and len(invariant) == len(drawn)
    assert page.count("HDN, range-invariant</td>") == len(LOWER)


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


def test_loops_that_begin_at_the_top_alone_are_named(tmp_path):
    table = by_hand()
    alone = table[table["variant"] == "direct"].assign(variant="residual")
    found = by_start(gap.gaps(pd.concat([table, alone])), tmp_path)
    assert found.from_T_alone == ["residual"] and [name for name, _ in found.rows] == ["direct"]
    assert [(baseline, metric) for baseline, metric, _ in found.rows[0][1]] == [
        (baseline, metric) for baseline in ("unet", "hdn") for metric in ("psnr", "psnr_ri")
    ]


@pytest.mark.parametrize(("num", "lowest"), [(2, [0, 1]), (3, [0, 1, 2]), (4, [1, 2, 3]), (6, [3, 4, 5])])
def test_the_lowest_panel_of_every_column_has_its_levels_written_below(num, lowest):
    variants = ["direct", "combine_z0", "refine_G", "refine_R", "residual", "bridge"][:num]
    table = pd.concat([rows_of({2: (-1.0, "trails"), 1: (0.0, "ties")}, variant=name) for name in variants])
    panels = [axes for axes in start_figure(table).axes if axes.axison]
    assert len(panels) == num
    labelled = [k for k, axes in enumerate(panels) if axes.get_xlabel()]
    ticked = [k for k, axes in enumerate(panels) if axes.xaxis.get_tick_params()["labelbottom"]]
    assert labelled == ticked == lowest


def test_a_loop_that_diverged_leaves_the_axes():
    (axes,) = start_figure(rows_of({3: (-300.0, "undecided"), 2: (np.nan, "undecided"), 1: (0.9, "beats")})).axes
    assert axes.get_ylim()[0] == -60 and axes.get_ylim()[1] > 1
    assert axes.get_xlim()[0] > axes.get_xlim()[1], "the haziest first"
