"""The error by place: planted shares come back with their gaps and sentence, and what is not known is left out."""

import numpy as np
import pandas as pd
import pytest

from analysis.place import COLUMNS, by_place, place_sentence

F = 0.2  # of the pixels are structure


def table(of_loop=(0.02, 0.008), of_unet=(0.01, 0.001), num_seeds=3, num_fields=6, noise=0.0):
    """UNet, HDN (as the UNet) and direct; (error on structure, on background) of each, over the range's square."""
    rng, rows = np.random.default_rng(0), []
    for seed in range(1, num_seeds + 1):
        for f in range(num_fields):
            for name, errors in (("unet", of_unet), ("hdn", of_unet), ("direct", of_loop)):
                structure, background = (error * np.exp(rng.normal(0, noise)) for error in errors)
                whole = F * structure + (1 - F) * background
                scores = {"psnr": whole, "psnr_structure": structure, "psnr_background": background}
                for step in range(2):  # what stands at another level says nothing of the end
                    lower = 5.0 * (step == (0 if name == "direct" else 1))
                    psnr = {column: -10 * np.log10(value) - lower for column, value in scores.items()}
                    at = {"seed": seed, "variant": name, "field": f"f{f}", "step": step, "level": 2 - step}
                    rows.append({**at, **psnr, "structure_share": F})
    return pd.DataFrame(rows)


def of(found, method, place):
    (row,) = found[(found["method"] == method) & (found["place"] == place)].to_dict("records")
    return row


def test_each_place_has_its_psnr_and_its_gap_to_the_unet():
    found = by_place(table())
    assert tuple(found.columns) == COLUMNS and len(found) == 3 * 2
    structure, background = (of(found, "direct", place) for place in ("structure", "background"))
    assert structure["psnr"] == pytest.approx(-10 * np.log10(0.02)) and structure["gap"] == pytest.approx(-3.0103)
    assert background["gap"] == pytest.approx(-9.0309) and background["ci_low"] == pytest.approx(-9.0309)
    assert (structure["share_of_pixels"], background["share_of_pixels"]) == pytest.approx((F, 1 - F))
    # 0.2 * 0.02 = 0.004 on structure, 0.8 * 0.008 = 0.0064 on background
    assert background["share_of_error"] == pytest.approx(0.0064 / 0.0104)
    assert structure["share_of_error"] == pytest.approx(0.004 / 0.0104)
    assert np.isnan(of(found, "unet", "structure")["gap"]) and of(found, "hdn", "structure")["gap"] == 0


def test_intervals_hold_the_planted_gap_and_widen_with_the_noise():
    found = of(by_place(table(noise=0.3, num_fields=30)), "direct", "background")
    assert found["ci_low"] < -9.03 < found["ci_high"] and found["ci_high"] - found["ci_low"] > 0.2


def test_the_sentence_says_where_the_additional_error_lies():
    # structure adds 0.2 * 0.01 = 0.002, background 0.8 * 0.007 = 0.0056
    said = place_sentence(table(), "direct")
    expected = (
        "Of direct's additional squared error over the UNet, 74 % [74, 74] lies on background, 80 % of the pixels."
    )
    assert said == expected
    said = place_sentence(table(of_loop=(0.09, 0.003)), "direct")  # 0.016 and 0.0016
    assert "91 % [91, 91] lies on structure, 20 % of the pixels." in said


def test_less_error_one_place_alone_and_no_difference_are_said():
    assert place_sentence(table(of_loop=(0.005, 0.0005)), "direct") == (
        "direct has less squared error than the UNet: 71 % [71, 71] of what it saves lies on structure, "
        "20 % of the pixels."
    )
    alone = place_sentence(table(of_loop=(0.008, 0.008)), "direct")
    assert alone == "direct has more squared error than the UNet: on background more, on structure less."
    saved = place_sentence(table(of_loop=(0.002, 0.0011)), "direct")
    assert saved == "direct has less squared error than the UNet: on structure less, on background more."
    same = place_sentence(table(of_loop=(0.01, 0.001), noise=0.5), "direct")
    assert same.startswith("Whether direct has more squared error than HDN is undecided")


def test_a_place_with_less_error_on_the_mean_is_said_to_have_less_only_where_its_interval_says_so():
    scores = table(of_loop=(0.01, 0.008))
    gaps = {1: 0.02, 2: -0.01, 3: 0.02}  # dB on structure; mean 0.01, sd 0.0173, interval 0.01 ± 4.303 · 0.01
    for seed, gap in gaps.items():
        scores.loc[(scores["variant"] == "direct") & (scores["seed"] == seed), "psnr_structure"] += gap
    row = of(by_place(scores), "direct", "structure")
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((0.01 - 0.04303, 0.01 + 0.04303), abs=1e-4)
    said = place_sentence(scores, "direct")
    assert said == (
        "direct has more squared error than the UNet: on background more, on structure no difference is shown."
    )


def test_the_baseline_is_the_best_on_the_whole_fields_as_everywhere():
    scores = table()
    hdn, first = scores["variant"] == "hdn", scores["field"] == "f1"
    scores.loc[hdn, "psnr"] -= 0.1
    scores.loc[hdn & first, "psnr"] += 3.0  # 0.4 dB on the mean of six fields
    scores.loc[first, ["psnr_structure", "psnr_background", "structure_share"]] = np.nan
    found = by_place(scores)
    assert set(found["baseline"]) == {"hdn"} and np.isnan(of(found, "hdn", "structure")["gap"])
    assert of(found, "unet", "background")["gap"] == 0
    assert place_sentence(scores, "direct").startswith("Of direct's additional squared error over HDN, 74 %")


def test_seeds_that_ran_away_by_orders_of_magnitude_leave_it_decided_that_there_is_more():
    scores = table(num_fields=4)
    for seed, factor in ((1, 1.0), (2, 10.0), (3, 300.0)):
        chosen = (scores["variant"] == "direct") & (scores["seed"] == seed)
        scores.loc[chosen, ["psnr", "psnr_structure", "psnr_background"]] -= 10 * np.log10(factor) + 20
    said = place_sentence(scores, "direct")  # of 0.4 and 0.64 in 1.04
    assert said.startswith("Of direct's additional squared error over the UNet, 62 % [")


def test_fields_without_places_are_left_out_and_a_loop_that_diverged_is_said_to_be():
    scores, columns = table(), ["psnr_structure", "psnr_background", "structure_share"]
    scores.loc[scores["field"] == "f1", columns] = np.nan
    found = by_place(scores)
    assert (found["num_fields"] == 5).all() and of(found, "direct", "structure")["gap"] == pytest.approx(-3.0103)
    scores.loc[(scores["variant"] == "direct") & (scores["field"] == "f2"), columns] = np.nan
    row = of(by_place(scores), "direct", "structure")
    assert row["num_fields"] == 5 and np.isnan(row["gap"]) and np.isnan(row["share_of_error"])
    assert "no place of its error can be told" in place_sentence(scores, "direct")
    assert of(by_place(scores), "hdn", "background")["gap"] == 0


def test_what_was_not_measured_has_no_table_and_no_sentence():
    bare = table().drop(columns="structure_share")
    assert not len(by_place(bare)) and place_sentence(bare, "direct") == ""
    nowhere = table().assign(structure_share=np.nan)
    assert not len(by_place(nowhere)) and place_sentence(nowhere, "direct") == ""
