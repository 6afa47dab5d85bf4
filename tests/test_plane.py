"""Fidelity against sharpness: noise is not sharp, and the front is that of points whose answer is known."""

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.plane import COLUMNS, coherent, plane_sentences, plane_table
from analysis.plane_figure import plane_figure
from dehazing import metrics

POINTS = {  # PSNR, power and coherence in every band
    "unet": (34.0, 0.25, 1.0),  # -6.0 dB
    "hdn": (35.0, 0.1, 1.0),  # -10 dB: the most faithful
    "wiener": (30.0, 4.0, 0.35),  # 0.1225: -9.1 dB, for all its power
    "input": (20.0, 0.9, 1.0),
    "direct": (31.0, 0.2, 1.0),  # -7 dB: the UNet beats it in both
    "residual": (33.0, 0.64, 0.9),  # 0.5184: -2.9 dB: on the front, and nothing is as sharp
    "stop": (34.0, 0.2, 1.0),  # as faithful as the UNet, less sharp
    "teacher_forced": (39.0, 1.0, 1.0),  # an oracle
    "ceiling_truth": (50.0, 1.0, 1.0),
}


def table(points=POINTS, seeds=(1, 2)):
    rows = []
    for seed in seeds:
        for f in range(3):
            for name, (psnr, power, coherence) in points.items():
                row = {"seed": seed, "variant": name, "field": f"f{f}", "step": 0, "level": 1}
                row |= {"psnr": psnr + 0.1 * (seed - 1.5) + 0.5 * (f - 1), "psnr_ri": psnr + 1 + (name == "direct") * 9}
                rows.append(
                    row | {f"power_{b}": power for b in range(4)} | {f"coherence_{b}": coherence for b in range(4)}
                )
    return pd.DataFrame(rows)


def test_noise_adds_power_and_no_sharpness_and_blur_and_gain_are_what_they_are():
    rng = np.random.default_rng(0)
    truth = torch.from_numpy(rng.normal(0, 1, (1, 128, 128)))
    noise = torch.from_numpy(rng.normal(0, 1, (1, 128, 128)))

    def found(prediction):
        scores = metrics.band_scores(prediction, truth)
        return coherent(np.minimum(scores.power.numpy(), 1), scores.coherence.numpy())[0]

    assert found(0.5 * truth) == pytest.approx([0.25] * 4)
    assert found(0.5 * truth + 0.3 * noise) == pytest.approx([0.25] * 4, abs=0.06)  # of a power of 0.34
    assert found(truth + noise) == pytest.approx([0.5] * 4, abs=0.06), "beyond the truth's power noise costs: -3 dB"
    assert found(30 * truth + 60 * noise) == pytest.approx([0.2] * 4, abs=0.06)  # of a power of 4500
    assert found(noise).max() < 0.01 and found(-truth) == pytest.approx([0] * 4)
    assert np.isnan(coherent(np.array([np.nan]), np.array([np.nan]))).all()


def test_sharpness_is_in_decibels_and_an_excess_does_not_count():
    found = plane_table(table(), 0.5).set_index("method")
    assert tuple(found.reset_index().columns) == COLUMNS and "ceiling_truth" not in found.index
    expected = {"unet": 0.25, "hdn": 0.1, "wiener": 0.1225, "residual": 0.5184, "teacher_forced": 1.0}
    for name, share in expected.items():
        assert found.loc[name, "sharpness_db"] == pytest.approx(10 * np.log10(share)), name
    assert found.loc["wiener", "not_the_truths"] == pytest.approx(4 - 4 * 0.1225)
    assert (found.loc["unet", "psnr_low"], found.loc["unet", "psnr_high"]) == pytest.approx((33.95, 34.05))
    odd = table({"unet": (34.0, 9.0, 1.0)}).assign(power_3=0.25)
    assert plane_table(odd, 0.5)["sharpness_db"].iloc[0] == pytest.approx(10 * np.log10(0.625))  # (1 + 0.25) / 2


def test_the_front_is_named_without_oracles_and_input():
    found = plane_table(table(), 0.5)
    assert set(found.loc[found["on_front"], "method"]) == {"hdn", "unet", "residual"}
    assert set(found.loc[found["on_front_ri"], "method"]) == {"direct", "unet", "residual"}, "forgiven"
    first, second, third, last = plane_sentences(found)
    assert first == (
        "On the Pareto front of the means, from the most faithful to the sharpest: HDN (35.0 dB, sharpness -10.0 dB), "
        "UNet (34.0 dB, sharpness -6.0 dB), residual (33.0 dB, sharpness -2.9 dB)."
    )
    assert second == "1 of 2 ways to iterate lies on it."
    assert third.startswith("With gain and offset forgiven the front is direct (41.0 dB")
    assert last == "With fewer than three seeds it is not decided who is on either."
    without = plane_sentences(plane_table(table({name: POINTS[name] for name in ("unet", "direct", "stop")}), 0.5))
    none = "None of 1 ways to iterate lies on it: for each, some mean is as high in both and higher in one."
    assert without[1] == none
    assert plane_sentences(plane_table(table().drop(columns="power_3"), 0.5)) == []


def test_who_ties_with_one_on_the_front_or_is_not_shown_to_be_worse_is_named():
    points = {
        "unet": (34.0, 0.25, 1.0),
        "hdn": (33.95, 0.249, 1.0),  # 0.05 dB below the UNet, and 0.001 less sharp: within both margins
        "stop": (31.0, 0.5, 1.0),
        "combine_z": (30.98, 0.505, 1.0),  # less faithful than stop and sharper, both by less than a margin
        "direct": (30.9, 0.8, 1.0),
    }
    scores = table(points, seeds=(1, 2, 3))
    for seed, more in ((1, 0.4), (2, 0.0), (3, -0.4)):  # its gap to stop is -0.1 dB ± 4.303 · 0.4 / √3
        scores.loc[(scores["variant"] == "direct") & (scores["seed"] == seed), "psnr"] += more
    found = plane_table(scores, 0.5).set_index("method")
    assert found.index[found["on_front"]].tolist() == ["unet", "direct", "combine_z", "stop"]
    assert found["tied"].to_dict() == {"unet": "hdn", "hdn": "", "direct": "", "combine_z": "stop", "stop": "combine_z"}
    assert found["rivals"].to_dict() == {"unet": "", "hdn": "", "direct": "", "combine_z": "direct", "stop": "direct"}
    first, second, _, last = plane_sentences(found.reset_index())
    assert "dB, sharpness -6.0 dB; tied with HDN), stop (31.0 dB" in first
    assert "combine z (31.0 dB, sharpness -3.0 dB; tied with stop; perhaps no better than direct)," in first
    assert first.endswith("direct (30.9 dB, sharpness -1.0 dB).")
    assert second == "2 of 2 ways to iterate lie on it, 1 of them tied with stop, a single step."
    assert last.startswith("For each of these, every other method is shown to be worse in fidelity or in sharpness, ")
    assert "but for those named in its brackets" in last
    assert "but for those" not in plane_sentences(plane_table(table(seeds=(1, 2, 3)), 0.5))[-1]


def test_without_any_finite_method_there_is_no_front():
    found = plane_table(table().assign(psnr=np.nan), 0.5)
    assert plane_sentences(found) == ["No restoration came to its end with finite numbers, so there is no front."]


def test_a_loop_that_diverged_has_no_point_and_leaves_the_others_theirs():
    odd = table()
    odd.loc[(odd["variant"] == "residual") & (odd["field"] == "f1"), "power_2"] = np.nan
    found = plane_table(odd, 0.5).set_index("method")
    assert np.isnan(found.loc["residual", ["psnr", "sharpness_db"]].astype(float)).all()
    assert not found.loc["residual", "on_front"] and found.loc["unet", "on_front"]


def test_the_figure_has_a_mark_per_point_and_names_the_front():
    found = plane_table(table({**POINTS, "identity": (-40.0, 0.0, 0.0)}), 0.5)
    figure = plane_figure(found, "direct")
    for axes in figure.axes:
        marks = [line for line in axes.lines if line.get_marker() in "s^xDo"]
        assert len(marks) == len(found)
        assert axes.get_xlim()[0] > 5 and all(axes.get_xlim()[0] <= line.get_xdata()[0] for line in marks)
        names = {text.get_text() for text in axes.texts}
        assert {"UNet", "HDN", "Wiener", "residual", "direct", "input"} <= names and "identity" not in names
    (steps,) = (line for line in figure.axes[0].lines if line.get_drawstyle() == "steps-pre")
    assert list(steps.get_xdata()) == pytest.approx([33, 34, 35])
