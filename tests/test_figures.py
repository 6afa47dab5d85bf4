"""Figures show what the tables say, and keep their numbers beside them."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from planted_experiment import ENDS, evaluation

from analysis import figures, pictures


@pytest.fixture(scope="module")
def trajectories():
    tables = [evaluation(seed, T=4, num_fields=3, variants=ENDS).assign(seed=seed) for seed in (1, 2)]
    return pd.concat(tables, ignore_index=True)


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_curves_are_means_over_fields_and_seeds(trajectories):
    table = figures.curves(trajectories, "psnr").set_index(["variant", "step"])
    of_direct = trajectories[(trajectories["variant"] == "direct") & (trajectories["step"] == 2)]
    row = table.loc[("direct", 2)]
    assert row["psnr"] == pytest.approx(of_direct["psnr"].mean()) and row["level"] == 2
    by_seed = of_direct.groupby("seed")["psnr"].mean()
    assert (row["seed_low"], row["seed_high"]) == pytest.approx((by_seed.min(), by_seed.max()))


def test_every_variant_and_line_is_named(trajectories):
    table = figures.curves(trajectories, "psnr")
    figure = figures.per_step(table)
    assert len(figure.axes) == 4
    assert sum(len(axes.collections) for axes in figure.axes) == len(ENDS)  # a band each
    named = texts(figure)
    ends = table[table["step"] == 3].set_index("variant")["psnr"]
    assert f"direct {ends['direct_blind']:.1f}" in named and f"stop {ends['stop']:.1f}" in named
    for name in ("UNet", "NAFNet", "HDN", "input", "ceiling"):
        assert sum(text.startswith(name) for text in named) >= 4
    assert any(text.startswith("ceiling, truth") and text.endswith("↑") for text in named)


def test_unknown_variants_are_drawn_too(trajectories):
    table = figures.curves(trajectories.replace({"variant": {"direct": "momentum"}}), "psnr")
    assert any(text.startswith("momentum") for text in texts(figures.per_step(table)))


def test_what_has_no_latent_has_no_drift(trajectories):
    table = figures.curves(trajectories, "drift")
    assert not table["variant"].str.endswith("pixels").any() and "unet" not in set(table["variant"])
    assert "direct" in texts(figures.per_step(table, "drift"))


def test_a_loop_that_drifted_off_does_not_flatten_the_others(trajectories):
    gone = (trajectories["variant"] == "residual") & (trajectories["step"] > 0)
    table = figures.curves(trajectories.assign(drift=trajectories["drift"].mask(gone, 1e6)), "drift")
    figure = figures.per_step(table, "drift")
    assert figure.axes[0].get_ylim()[1] < 3
    assert any(text.startswith("residual 1e+06") and text.endswith("↑") for text in texts(figure))


def test_names_do_not_overlap_and_stay_inside():
    places = figures.spread_apart(np.array([30, 30, 30.1, 35.0]), 1, 24, 36)
    assert (np.diff(places) > 0.99).all() and places.min() >= 24 and places.max() <= 36
    assert places[3] == pytest.approx(35, abs=0.01)
    crowded = figures.spread_apart(np.full(5, 10.0), 9, 0, 10)
    assert crowded == pytest.approx([0, 2.5, 5, 7.5, 10], abs=0.1)


def test_one_step_errors_are_bars_with_their_means():
    table = pd.DataFrame(
        [(seed, name, level, 0.1 * level) for seed in (1, 2) for name in ("blind", "mine") for level in (1, 2)],
        columns=["seed", "degrader", "level", "error"],
    )
    figure = figures.one_step_errors(table)
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    assert heights == pytest.approx([0.2, 0.1, 0.2, 0.1])
    assert any("mean 0.15" in text.get_text() for text in figure.legends[0].get_texts())


def test_the_use_of_every_group_is_drawn_as_the_mean_of_the_seeds_by_level():
    table = pd.DataFrame(
        [(seed, t, i, 10.0 * i + t + seed, 0.01 * i) for seed in (1, 3) for t in range(3) for i in (1, 2)],
        columns=["seed", "level", "group", "psnr_lost", "outside"],
    )
    left, right = figures.latent_space(table).axes
    curves = [line for line in left.lines if len(line.get_xdata()) == 3]
    assert [list(line.get_ydata()) for line in curves] == [[12, 13, 14], [22, 23, 24]]
    assert [list(line.get_ydata()) for line in right.lines if len(line.get_xdata()) == 3] == [
        [1] * 3,
        [2] * 3,
    ]  # percent


def test_pictures_share_the_grey_scale_of_the_truth():
    rng = np.random.default_rng(0)
    names = ("input", "unet", "hdn", "direct", "direct_blind", "truth")
    images = {name: rng.random((2, 16, 16)) * (k + 1) for k, name in enumerate(names)}
    figure = pictures.examples(images, {"unet": 31.74})
    shown = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title().split("\n")[0] for axes in shown][:4] == ["input, its own", "UNet", "HDN", "direct"]
    assert shown[1].get_title() == "UNet\n31.7 dB" and shown[-1].get_title() == "truth"
    assert {axes.images[0].get_clim() for axes in shown[1:]} == {pictures.grey_scale(images["truth"][0])}
    assert shown[0].images[0].get_clim() == pictures.grey_scale(images["input"][0])


def test_an_acquired_frame_that_is_the_truth_is_shown_once():
    truth = np.zeros((1, 8, 8))
    assert pictures.example_names({"input": truth, "truth": truth, "frame": truth}) == ["input", "frame"]
    assert pictures.example_names({"frame": truth + 1, "truth": truth}) == ["frame", "truth"]


@pytest.mark.parametrize("shape", [(3, 2, 8, 8), (3, 8, 8)])
def test_steps_stand_beside_the_truth(shape):
    images = {"truth": np.random.default_rng(0).random((2, 8, 8)), "direct/steps": np.zeros(shape)}
    figure = pictures.example_steps(images, ["direct"])
    assert [axes.get_title() for axes in figure.axes] == ["t = 3", "t = 2", "t = 1", "truth"]


def test_a_figure_is_written_with_its_numbers(trajectories, tmp_path):
    table = figures.curves(trajectories, "psnr")
    path = figures.write(figures.per_step(table), table, tmp_path / "figures", "psnr_per_step")
    assert imread(path).std() > 0
    pd.testing.assert_frame_equal(pd.read_csv(path.with_suffix(".csv")), table)
