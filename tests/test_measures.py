"""Other measures: means of known numbers, what was refused is said, and spectra are drawn as the table has them."""

import math

import numpy as np
import pandas as pd
import pytest

from analysis.facts import headline, source_and_best
from analysis.measures import MEASURES, NOT_FINITE, laid_out, measures
from analysis.scores import at_the_end
from analysis.spectrum import spectrum_figure, spectrum_table
from analysis.table import Row
from analysis.trajectories import chosen_is_blind

REASON = "FRC needs the noise-free truth of a simulated series, but the reference is an acquired frame."


def table(T=2, seeds=(1, 2), fields=("a", "b"), **columns):
    """A row per method, seed, field and step; the value is 10 seed + field, + 100 for a loop at its last step."""
    rows = []
    for seed in seeds:
        for number, field in enumerate(fields):
            for method in ("unet", "hdn", "ceiling_truth", "direct", "combine_z_first_anchored"):
                for step in range(1 if method.startswith("ceiling") else T):
                    value = 10 * seed + number + 100 * (step == T - 1) * (method in ("direct", "unet"))
                    rows.append({"seed": seed, "field": field, "variant": method, "step": step, "level": T - step})
                    rows[-1] |= {name: factor * value for name, factor in columns.items()}
    return pd.DataFrame(rows)


def of(found, method, measure):
    (row,) = found[(found["method"] == method) & (found["measure"] == measure)].to_dict("records")
    return row


def test_means_are_of_the_last_step_of_a_loop_and_of_T_for_what_takes_one():
    found = measures(table(ssim=0.1, ms_ssim=1.0), {})
    assert of(found, "direct", "ssim")["mean"] == pytest.approx(0.1 * (15.5 + 100))  # of 10, 11, 20, 21
    assert of(found, "unet", "ssim")["mean"] == pytest.approx(0.1 * 15.5)  # the step after T is of another level
    row = of(found, "hdn", "ms_ssim")
    assert (row["seed_low"], row["seed_high"], row["num_fields"], row["note"]) == (10.5, 20.5, 2, "")
    methods = ["unet", "hdn", "ceiling_truth", "direct", "combine_z_first_anchored"]
    assert list(dict.fromkeys(found["method"])) == methods
    levels = at_the_end(table()).groupby("variant")["level"].unique()
    assert [list(levels[name]) for name in methods] == [[2], [2], [2], [1], [1]]


def test_the_background_is_in_percent_and_detail_is_a_frequency_which_none_has_where_nothing_agrees():
    scores = table(background=0.001, frc_px=1.0)
    scores["frc_px"] = [4.0 if field == "a" else math.inf for field in scores["field"]]
    found = measures(scores, {})
    assert of(found, "hdn", "background")["mean"] == pytest.approx(1.55)
    assert of(found, "hdn", "frc_px")["mean"] == pytest.approx((1 / 4 + 0) / 2)


def test_what_was_refused_for_every_field_is_a_dash_with_its_reason():
    found = measures(table(ssim=1.0).assign(frc_px=np.nan), {"frc_px": REASON})
    assert math.isnan(of(found, "unet", "frc_px")["mean"]) and of(found, "direct", "frc_px")["note"] == REASON
    shown = laid_out(found)
    assert shown.notes == {"a": REASON} and [mark for _, mark in shown.columns] == ["", ""]
    cells = dict(shown.sections[0][1])
    assert [tuple(cell) for cell in cells["unet"]] == [("16", ""), ("–", "a")]


def test_a_field_that_is_refused_is_left_out_for_all_and_the_column_says_so():
    scores = table(line_f1=1.0)
    scores.loc[scores["field"] == "b", "line_f1"] = np.nan
    found = measures(scores, {"line_f1": "One shows no ridge."})
    row = of(found, "hdn", "line_f1")
    assert (row["mean"], row["num_fields"], row["note"]) == (15, 1, "Of 1 of 2 fields. One shows no ridge.")
    shown = laid_out(found)
    assert [mark for _, mark in shown.columns] == ["a"] and dict(shown.sections[0][1])["hdn"][0].mark == ""


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loop_that_diverged_has_a_dash_and_the_others_their_numbers(value):
    scores = table(ssim=1.0)
    scores.loc[(scores["variant"] == "direct") & (scores["field"] == "b"), "ssim"] = value
    found = measures(scores, {})
    assert math.isnan(of(found, "direct", "ssim")["mean"]) and of(found, "direct", "ssim")["note"] == NOT_FINITE
    assert of(found, "hdn", "ssim")["mean"] == 15.5 and laid_out(found).notes == {"a": NOT_FINITE}


def test_the_table_has_a_section_for_every_degrader_and_a_heading_for_what_belongs_together():
    shown = laid_out(measures(table(**{f"band_{k}": 1.0 for k in range(4)}, ssim=1.0), {}))
    assert [of for of, _ in shown.sections] == ["", "chosen", "anchored"]
    assert [(first.group, num) for first, num in shown.headings] == [("structural similarity", 1), ("error in band", 4)]
    assert laid_out(measures(table(), {})) is None


def test_numbers_stay_short_where_a_loop_ran_away():
    scores = table(seeds=(1,), fields=("a",), band_0=1.0)  # 10, and 110 at the end of direct
    assert dict(laid_out(measures(scores, {})).sections[1][1])["direct"][0].text == "110"
    for factor, text in ((0.01, "1.10"), (0.2, "22"), (50.0, "6e3"), (-1e-6, "0.00")):
        scaled = scores.assign(band_0=factor * scores["band_0"])
        assert dict(laid_out(measures(scaled, {})).sections[1][1])["direct"][0].text == text


def test_every_measure_has_a_unit_and_a_direction():
    assert all(one.unit and one.better[0] in "↑↓→" for one in MEASURES)
    assert len({one.column for one in MEASURES}) == len(MEASURES) == 18


def test_a_spectrum_has_the_means_of_the_bands_and_a_line_a_method():
    scores = table(**{f"power_{k}": 10.0**-k for k in range(4)})
    found = spectrum_table(scores, "power", ["unet", "direct", "ceiling_truth", "absent"])
    assert found["power"].tolist()[:4] == pytest.approx([15.5, 1.55, 0.155, 0.0155])
    row = found[(found["variant"] == "direct") & (found["band"] == 1)].iloc[0]
    assert (row["low"], row["high"], row["seed_low"], row["seed_high"]) == pytest.approx((0.125, 0.25, 11.05, 12.05))
    axes = spectrum_figure(found, "power", "direct").axes[0]
    lines = [line for line in axes.lines if len(line.get_xdata()) == 4]
    assert [line.get_label() for line in lines] == ["UNet", "direct (the source's)", "ceiling, truth in"]
    assert list(lines[0].get_xdata()) == [0.0625, 0.1875, 0.3125, 0.4375]
    assert list(lines[1].get_ydata()) == pytest.approx([115.5, 11.55, 1.155, 0.1155])
    assert axes.get_yscale() == "log" and axes.get_ylim()[1] <= 20


def test_a_method_that_is_not_finite_is_left_out_of_its_spectrum_and_two_of_a_family_are_told_apart():
    scores = table(**{f"coherence_{k}": 0.04 for k in range(4)})
    scores["variant"] = scores["variant"].replace({"combine_z_first_anchored": "direct_anchored"})
    scores.loc[scores["variant"] == "hdn", "coherence_2"] = np.nan
    found = spectrum_table(scores, "coherence", ["hdn", "direct", "direct_anchored"])
    assert found[found["variant"] == "hdn"]["band"].tolist() == [0, 1, 3]
    lines = spectrum_figure(found, "coherence", "direct").axes[0].lines
    styles = {line.get_label(): (line.get_color(), line.get_linestyle()) for line in lines}
    source, best = styles["direct (the source's)"], styles["direct (anchored) (the best)"]
    assert source[0] == best[0] and (source[1], best[1]) == ("-", ":")
    assert len(spectrum_table(table(), "coherence", ["unet"])) == 0


def test_the_source_is_the_blind_loop_and_the_best_is_no_control():
    rows = [Row(name, 30.0, end, {}) for name, end in (("direct", 20), ("combine_z", 29), ("stop", 31), ("bridge", 28))]
    assert names(source_and_best(rows, blind=True)) == ["direct", "combine_z"]
    rows.append(Row("direct_blind", 30.0, 19.0, {}))
    assert names(source_and_best(rows, blind=True)) == names(source_and_best(rows, blind=False))
    assert names(source_and_best(rows, blind=False)) == ["direct_blind", "combine_z"]
    assert source_and_best([Row("stop", 30.0, 30.0, {}), Row("direct", 30.0, math.nan, {})], True) == (None, None)


def test_another_loop_is_not_taken_for_the_sources():
    rows = [Row("combine_z", 30.0, 29.0, {}), Row("direct", 30.0, 28.0, {}), Row("direct_anchored", 30.0, 27.0, {})]
    assert names(source_and_best(rows, blind=False)) == [None, "combine_z"], "what was chosen is anchored"
    assert headline(rows).startswith("The source's loop, direct with a blind degrader in latents, was not among those")
    assert "After its last step the source's loop, direct, is at 28.0 dB" in headline(rows, blind=True)
    for lost in ("direct", "direct_blind"):  # it diverged; neither another loop nor the chosen G takes its place
        left = [*(row for row in rows if row.variant != lost), Row(lost, 30.0, math.nan, {})]
        assert names(source_and_best(left, blind=True)) == [None, "combine_z"]
        text = headline(left, blind=True)
        assert text.startswith("The source's loop did not come to its end with a finite score. The best of")
        assert "ways to iterate, combine z, ends at 29.0 dB" in text


def names(found):
    return [None if row is None else row.variant for row in found]


def test_a_spectrum_without_the_sources_loop_names_none_so():
    scores = table(**{f"power_{k}": 1.0 for k in range(4)})
    found = spectrum_table(scores, "power", ["direct", "ceiling_truth"])
    (figure_legend,) = spectrum_figure(found, "power", "").legends
    assert [text.get_text() for text in figure_legend.get_texts()] == ["direct (the best)", "ceiling, truth in"]


@pytest.mark.parametrize(
    ("config", "blind"),
    [
        ({"anchor": "none"}, True),
        ({}, True),
        ({"anchor": "z_t"}, False),
        ({"anchor": "none", "domain": "pixels"}, False),
    ],
)
def test_a_blind_degrader_in_latents_is_the_sources_form(config, blind):
    assert chosen_is_blind({"chosen": {"degrader": {"config": config}}}) is blind
