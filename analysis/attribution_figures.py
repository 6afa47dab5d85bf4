"""Figures of why a loop trails: shares by module, level and frequency; and how errors grow."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.attribution import PART_TITLES, PARTS, WHOLE, modules_of
from analysis.figures import quiet
from analysis.variants import title

COLOURS = {"E": "#999999", "R": "#0072B2", "G": "#D55E00"}
TITLES = {"E": "E: noise of the acquired frame", "R": "R: restoring", "G": "G: going one level back"}
GROWTH = {  # column → label, colour, style
    "errors": {
        "free": ("the loop's own prediction", "#D55E00", "-"),
        "forced": ("R on the true latent", "#0072B2", "--"),
    },
    "gains": {
        "gain_step_error": ("a step, of the loop's error", "#D55E00", "-"),
        "gain_step_random": ("a step, of a random one", "#D55E00", ":"),
        "gain_R_error": ("R, of the loop's error", "#0072B2", "-"),
        "gain_R_random": ("R, of a random one", "#0072B2", ":"),
    },
    "manifold": {
        "manifold_free": ("the loop's z_t", "#D55E00", "-"),
        "manifold_prediction": ("its prediction ẑ₀", "#009E73", "-"),
        "manifold_true": ("the true z_t", "#777777", "--"),
    },
}
GROWTH_TITLES = {
    "errors": "mean square error\nabove the ceiling",
    "gains": "growth of a small error",
    "manifold": "distance of z to E(Dec(z)),\nrelative",
}


def shares_figure(table: pd.DataFrame) -> Figure:
    """A row per loop: each module's share at every level, along the loop, and by part of the error.

    table: of `analysis.attribution.shares`. Whiskers are the intervals.
    """
    variants = [*dict.fromkeys(table["variant"])]
    figure = Figure(figsize=(10.5, 3.3 * len(variants) + 0.5), layout="constrained")
    grid = figure.subplots(len(variants), 2, squeeze=False, width_ratios=(1.5, 1))
    shown: dict[str, Artist] = {}
    for (left, right), variant in zip(grid, variants, strict=True):
        rows = table[table["variant"] == variant]
        modules = modules_of(rows)
        steps = _along_the_loop(rows)
        for k, (module, level) in enumerate(steps):
            chosen = rows[(rows["module"] == module) & (rows["level"] == level) & (rows["part"] == "error")]
            _bar(left, k, chosen.iloc[0], module, 0.8)
        left.set_xticks(range(len(steps)), [f"{module}\n{level}" for module, level in steps])
        left.set_ylabel(f"{title(variant)}: share of the\nerror above the ceiling (%)")
        of_loop = rows[rows["level"] == WHOLE]
        width = 0.8 / len(modules)
        for j, part in enumerate(PARTS):
            for k, module in enumerate(modules):
                chosen = of_loop[(of_loop["module"] == module) & (of_loop["part"] == part)]
                place = j + (k - (len(modules) - 1) / 2) * width
                shown[module] = _bar(right, place, chosen.iloc[0], module, 0.92 * width)
        right.set_xticks(range(len(PARTS)), PART_TITLES, fontsize=8)
        for axes in (left, right):
            axes.axhline(0, color="#333333", linewidth=0.8)
            quiet(axes)
    grid[-1][0].set_xlabel("along the loop: E of x_T, R from level t, G to level s")
    grid[-1][1].set_xlabel("all of it, brightness, and bands (cycles/px)")
    figure.legend(
        [*shown.values()], [TITLES[name] for name in shown], loc="outside lower center", ncols=3, frameon=False
    )
    return figure


def growth_means(growth: pd.DataFrame) -> pd.DataFrame:
    """Means over fields and seeds by loop and level; of the gains, which are ratios, geometric ones."""
    columns = [name for names in GROWTH.values() for name in names if name in growth]
    kept = growth[["variant", "level", *columns]].copy()
    gains = [name for name in columns if name.startswith("gain")]
    kept[gains] = np.log(kept[gains])
    means = kept.groupby(["variant", "level"], sort=False).mean().reset_index()
    means[gains] = np.exp(means[gains])
    return means


def growth_figure(means: pd.DataFrame) -> Figure:
    """A row per loop: errors free-running and teacher-forced, growth of a small error, and drift from the manifold.

    means: of `growth_means`.
    """
    variants = [*dict.fromkeys(means["variant"])]
    figure = Figure(figsize=(11.5, 3.3 * len(variants)), layout="constrained")
    grid = figure.subplots(len(variants), len(GROWTH), squeeze=False)
    for row, variant in zip(grid, variants, strict=True):
        rows = means[means["variant"] == variant].sort_values("level", ascending=False)
        for axes, (kind, lines) in zip(row, GROWTH.items(), strict=True):
            for column, (label, ink, style) in lines.items():
                if column in rows and rows[column].notna().any():
                    axes.plot(rows["level"], rows[column], color=ink, linestyle=style, marker="o", ms=3.5, label=label)
            axes.set_xticks(sorted(rows["level"]))
            axes.invert_xaxis()
            axes.set_ylabel(GROWTH_TITLES[kind])
            axes.set_title(title(variant), fontsize=10, loc="left")
            axes.legend(frameon=False, fontsize=8)
            quiet(axes)
            if kind == "errors":
                axes.set_yscale("log")
            if kind == "gains":
                axes.axhline(1, color="#777777", linewidth=0.8)
    for axes in grid[-1]:
        axes.set_xlabel("level t  (the loop runs to the right)")
    return figure


def _along_the_loop(rows: pd.DataFrame) -> list[tuple[str, int]]:
    """Module and level in the order in which the loop calls them, as the stage has written them."""
    steps = rows[rows["level"] != WHOLE][["module", "level"]].drop_duplicates()
    return [(str(module), int(level)) for module, level in steps.to_numpy()]


def _bar(axes: Axes, place: float, row: pd.Series, module: str, width: float) -> Artist:
    (bar,) = axes.bar(place, 100 * row["share"], width, color=COLOURS[module])
    axes.plot([place, place], [100 * row["ci_low"], 100 * row["ci_high"]], color="#222222", linewidth=0.9)
    return bar
