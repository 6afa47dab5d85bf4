"""The gap of every field: sorted, in words, and the pictures of the worst and the best one."""

import numpy as np
import pandas as pd
import pytest

from analysis.by_field import (
    COLUMNS,
    extremes_figure,
    extremes_table,
    field_figure,
    field_gaps,
    field_sentences,
    shown_extremes,
)

GAPS = {"a": (-1.0, -3.0), "b": (0.5, 1.5), "c": (-2.5, -2.5), "d": (1.0, -2.0)}  # of the seeds 1 and 2, to HDN


def table(gaps=GAPS):
    rows = []
    for field, of_seeds in gaps.items():
        for seed, gap in enumerate(of_seeds, 1):
            for name, psnr in (("unet", 30.0), ("hdn", 32.0), ("direct", 32 + gap), ("stop", 31.0)):
                row = {"seed": seed, "variant": name, "field": field, "psnr": psnr}
                steps = ((0, 2, -9.0), (1, 1, 0.0)) if name == "direct" else ((0, 2, 0.0), (1, 1, 9.0))
                rows += [{**row, "step": step, "level": level, "psnr": psnr + more} for step, level, more in steps]
    return pd.DataFrame(rows)


def test_fields_are_sorted_by_the_mean_gap_to_the_best_baseline():
    found = field_gaps(table(), ["direct"])
    assert tuple(found.columns) == COLUMNS and set(found["baseline"]) == {"hdn"}
    assert list(dict.fromkeys(found["field"])) == ["c", "a", "d", "b"]
    assert found["mean_gap"].tolist() == [-2.5, -2.5, -2.0, -2.0, -0.5, -0.5, 1.0, 1.0]
    assert found["gap"].tolist() == [-2.5, -2.5, -1.0, -3.0, 1.0, -2.0, 0.5, 1.5]
    assert not len(field_gaps(table(), []))


def test_a_seed_by_itself_is_held_against_the_baseline_that_is_named():
    scores = table()
    scores.loc[(scores["variant"] == "unet") & (scores["seed"] == 1) & (scores["step"] == 0), "psnr"] = 33.0
    assert set(field_gaps(scores, ["direct"])["baseline"]) == {"hdn"}, "32 dB on the mean, the UNet 31.5 dB"
    of_seed = scores[scores["seed"] == 1]
    found = field_gaps(of_seed, ["direct"], "unet")
    assert set(found["baseline"]) == {"unet"} and found["gap"].tolist() == [-3.5, -2.0, -0.5, 0.0]  # c, a, b, d
    assert found["mean_gap"].tolist() == found["gap"].tolist()
    assert field_gaps(of_seed, ["direct"])["baseline"].iloc[0] == "unet", "of this seed it is the best"


def test_the_worst_and_the_best_are_said_and_on_how_many_the_seeds_agree():
    (said,) = field_sentences(field_gaps(table(), ["direct"]))
    assert said == (
        "direct against HDN, the baseline of highest PSNR: worst on c, 2.5 dB below, best on b, 1.0 dB above; "
        "of 4 fields it is below on 2 and above on 1 in every seed."
    )
    (said,) = field_sentences(field_gaps(table({**GAPS, "c": (np.nan, -1.0)}), ["direct"]))
    assert said == "direct did not come to a finite end on 1 of 4 fields."


def test_a_dot_is_the_mean_and_a_small_mark_a_seed():
    found = field_gaps(table(), ["direct", "stop"])
    left, right = field_figure(found).axes
    dots, marks = ({line.get_marker(): line for line in left.lines}[mark] for mark in ("o", "_"))
    assert list(dots.get_ydata()) == [-2.5, -2.0, -0.5, 1.0] and len(marks.get_ydata()) == 8
    assert [text.get_text() for text in left.texts] == ["c", "b"]
    assert right.get_title(loc="left") == "control: stop against HDN" or "stop" in right.get_title(loc="left")


def pictures():
    rng = np.random.default_rng(0)
    images = {f"{name}/extremes": rng.random((2, 8, 8)) for name in ("input", "hdn", "truth", "direct")}
    return images, {"baseline": "hdn", "fields": ["a", "b"], "loops": {"direct": ["b", "a"]}}


def test_the_pictures_are_those_of_the_fields_that_the_record_names():
    images, record = pictures()
    worst, best = shown_extremes(images, record, ["direct", "stop"])
    assert (worst.which, worst.field, best.which, best.field) == ("worst", "b", "best", "a")
    assert list(worst.pictures) == ["input", "hdn", "direct", "truth"]
    assert worst.pictures["direct"] is not None and np.array_equal(
        worst.pictures["direct"], images["direct/extremes"][0]
    )
    assert np.array_equal(worst.pictures["hdn"], images["hdn/extremes"][1])  # b is the second of the fields
    assert np.array_equal(best.pictures["truth"], images["truth/extremes"][0])


def test_the_figure_says_the_field_its_gap_and_each_psnr():
    shown = shown_extremes(*pictures(), ["direct"])
    of_seed = field_gaps(table(), ["direct"]).query("seed == 1")
    axes = extremes_figure(shown, of_seed, "acquired").axes
    assert [one.get_title() for one in axes[:4]] == [
        "input, its own greys",
        "HDN, 32.0 dB",
        "direct, 32.5 dB",
        "acquired",
    ]
    assert axes[0].get_ylabel() == "direct,\nworst: b\n+0.5 dB"
    numbers = extremes_table(shown, of_seed)
    assert numbers["gap"].tolist() == [0.5, -1.0] and numbers["which"].tolist() == ["worst", "best"]


@pytest.mark.parametrize("record", [{}, {"baseline": "hdn", "fields": [], "loops": {}}])
def test_without_kept_pictures_there_are_none_and_a_single_field_is_shown_once(record):
    images, whole = pictures()
    assert shown_extremes(images, record, ["direct"]) == []
    assert shown_extremes({}, whole, ["direct"]) == []
    (one,) = shown_extremes(images, {**whole, "loops": {"direct": ["a", "a"]}}, ["direct"])
    assert one.which == "worst"
