"""The report's curves and bars, each drawn from a table that is kept beside it as CSV.

Every function takes a table and returns a matplotlib Figure; `write` puts a figure and its table into a folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.variants import (
    BASELINES,
    TURNED,
    are_variants,
    colour,
    degrader,
    family,
    family_title,
    is_variant,
    ordered,
    title,
)

Colour = str | tuple[float, ...]

DPI = 120
UNITS = {
    "psnr": "PSNR (dB)",
    "psnr_ri": "range-invariant PSNR (dB)",
    "drift": "latent drift ‖z − E(x)‖ / ‖E(x)‖",
}
LINES: dict[str, tuple[str, Any]] = {  # colour, style
    "unet": ("#111111", "-"),
    "nafnet": ("#111111", (0, (5, 1, 1, 1))),
    "hdn": ("#111111", "--"),
    "input": ("#777777", ":"),
    "ceiling": ("#777777", "-."),
}
BARS = {"blind": "#D55E00", "anchored": "#0072B2", "degrader": "#009E73", "leave": "#999999", "bridge": "#A67C00"}
BAR_TITLES = {
    "blind": "blind G (the source's form): from z₀ alone",
    "anchored": "anchored G: also sees z_T",
    "degrader": "the G that the search chose",
    "leave": "z_t left as it is",
    "bridge": "linear bridge to z_T",
}
HIGH_DRIFT = 2.0  # the norm of the true latent twice over: a loop that drifts farther leaves the axes
DEEP_DB = 8.0  # below the lowest line: what falls deeper leaves the axes
NEAR = 0.3  # of the spread of the curves: a line farther from them is pointed at, not drawn
LOOPS = ("direct", "combine", "refine", "residual", "other")  # families that call a degrader


def write(figure: Figure, table: pd.DataFrame, folder: Path, name: str) -> Path:
    """Writes folder/name.png and folder/name.csv, what is drawn and its numbers; returns the picture's path."""
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / f"{name}.csv", index=False)
    FigureCanvasAgg(figure)
    figure.savefig(folder / f"{name}.png", dpi=DPI, facecolor="white")
    return folder / f"{name}.png"


def curves(trajectories: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Mean over fields and seeds at every step: variant, step, level, <metric>, seed_low, seed_high.

    seed_low and seed_high are the means of the lowest and the highest seed. Rows without the metric, and those of a
    loop that diverged, are left out.
    """
    trajectories = trajectories.assign(**{metric: trajectories[metric].where(np.isfinite(trajectories[metric]))})
    by_seed = trajectories.groupby(["variant", "step", "level", "seed"], as_index=False)[metric].mean()
    table = by_seed.groupby(["variant", "step", "level"])[metric].agg(["mean", "min", "max"])
    table = table.rename(columns={"mean": metric, "min": "seed_low", "max": "seed_high"})
    return table.dropna(subset=[metric]).reset_index()


def per_step(table: pd.DataFrame, metric: str = "psnr", blind: bool = False) -> Figure:
    """A metric at every step for every variant, one panel per degrader, names at the ends of the curves.

    table: of `curves`. Baselines, input and ceilings are the lines of their first step, where the table has them.
    The shaded bands reach from the lowest to the highest seed. What lies outside the axes, say a loop that diverged,
    has an arrow at its number. blind: whether the degrader that the search chose is the source's form.
    """
    starts = table[table["step"] == table.groupby("variant")["step"].transform("min")]
    lines = {
        name: value
        for name, value in zip(starts["variant"], starts[metric], strict=True)
        if name.startswith(tuple(LINES)) and not is_variant(name) and not name.endswith(TURNED)
    }
    panels = _panels(table, blind)
    low, high = _limits(table, metric, lines)
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5.8 * columns, 4.3 * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, (heading, names) in zip(grid.flat, panels.items(), strict=False):
        axes.set_ylim(low, high)
        _draw(axes, table, metric, names, lines)
        axes.set_title(heading, fontsize=11, loc="left")
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes in grid[-1]:
        axes.set_xlabel("prediction made at level t  (the loop runs to the right)")
    for axes in grid[:, 0]:
        axes.set_ylabel(UNITS.get(metric, metric))
    families = {family_title(name): colour(name) for names in panels.values() for name in names}
    handles = [Line2D([], [], color=fill, linewidth=3, label=label) for label, fill in families.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 4), frameon=False)
    return figure


def one_step_errors(table: pd.DataFrame) -> Figure:
    """Error of one step of each degrader from the true z_0 to each level; dots are seeds.

    table: seed, degrader, level, error.
    """
    means = table.pivot_table(index="level", columns="degrader", values="error")
    found = [str(name) for name in means]
    order = [name for name in BARS if name in found] + [name for name in found if name not in BARS]
    levels = list(means.index)[::-1]
    figure = Figure(figsize=(9, 3.9), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(order)
    for k, name in enumerate(order):
        x = np.arange(len(levels)) + (k - (len(order) - 1) / 2) * width
        label = f"{BAR_TITLES.get(name, name)} (mean {means[name].mean():.2f})"
        axes.bar(x, means.loc[levels, name], 0.92 * width, color=BARS.get(name, f"C{k}"), label=label)
        for place, level in zip(x, levels, strict=True):
            seeds = table[(table["degrader"] == name) & (table["level"] == level)]["error"]
            axes.plot([place] * len(seeds), seeds, "o", color="black", markersize=2.5, alpha=0.7)
    axes.set_xticks(range(len(levels)), [f"to level {level}" for level in levels])
    axes.set_ylabel("mean-square error,\nstandardised latents")
    axes.set_ylim(bottom=0)
    quiet(axes)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def latent_space(table: pd.DataFrame) -> Figure:
    """What each latent group is good for, and how much of it lies outside, by level; dots are seeds.

    table: seed, level, group, psnr_lost, outside.
    """
    shown = table.assign(percent=100 * table["outside"])
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, column in ((left, "psnr_lost"), (right, "percent")):
        means = shown.pivot_table(index="level", columns="group", values=column)
        for k, group in enumerate(means):
            rows = shown[shown["group"] == group]
            axes.plot(means.index, means[group], color=f"C{k}", label=f"z{group}" + " (finest)" * (k == 0))
            axes.plot(rows["level"], rows[column], "o", color=f"C{k}", markersize=2.5, alpha=0.7)
        axes.set_xticks(list(means.index))
        axes.set_xlabel("level t")
        quiet(axes)
    left.set_ylim(bottom=min(0, left.get_ylim()[0]))
    left.set_ylabel("PSNR lost with the group\nat its prior mean (dB)")
    right.set_ylabel("test latents outside 0.1-99.9 %\nof the training latents (%)")
    right.set_ylim(bottom=0)
    right.axhline(0.2, color="#777777", linestyle=":", label="nothing unusual: 0.2 %")
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def spread_apart(values: np.ndarray, step: float, low: float, high: float) -> np.ndarray:
    """Ascending places between low and high, at least `step` apart, near to the ascending values."""
    places = np.clip(values.astype(float), low, high)
    step = min(step, (high - low) / max(len(places) - 1, 1))
    for _ in range(500):
        short = np.maximum(step - np.diff(places), 0) / 2
        places[:-1] -= short
        places[1:] += short
        places = np.clip(places, low, high)
    return places


def quiet(axes: Axes) -> None:
    """Leaves of an axes' frame what is read, and draws faint lines across, behind everything."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def _panels(table: pd.DataFrame, blind: bool) -> dict[str, list[str]]:
    """Names of the variants by degrader; what calls none stands with the controls."""
    names = ordered(name for name in table["variant"] if is_variant(name))
    controls = [name for name in names if family(name) not in LOOPS or degrader(name) == "pixels"]
    loops = [name for name in names if name not in controls]
    panels = {
        "with the chosen degrader, blind (the source's form)" if blind else "with the degrader that the search chose": [
            name for name in loops if degrader(name) == "chosen"
        ],
        "with a blind degrader (the source's)": [name for name in loops if degrader(name) == "blind"],
        "with an anchored degrader (also sees z_T)": [name for name in loops if degrader(name) == "anchored"],
        "controls": controls,
    }
    return {heading: members for heading, members in panels.items() if members}


def _limits(table: pd.DataFrame, metric: str, lines: Mapping[str, float]) -> tuple[float, float]:
    """Of the vertical axis: the curves, the baselines, and other lines that lie near to them."""
    values = [*table.loc[are_variants(table["variant"]), metric]]
    values += [lines[name] for name in BASELINES if name in lines]
    values = [value for value in values if np.isfinite(value)]
    low, high = min(values), max(values)
    near = NEAR * max(high - low, 1e-3)
    inside = [value for value in lines.values() if low - near <= value <= high + near]
    low, high = min([low, *inside]), max([high, *inside])
    if lines:
        low = max(low, min(lines.values()) - DEEP_DB)
    if metric == "drift":
        starts = table.loc[table["step"] == 0, metric]
        high = min(high, max(HIGH_DRIFT, 1.5 * float(starts[np.isfinite(starts)].max())))
    pad = 0.04 * max(high - low, 1e-3)
    return low - pad, high + pad


def _draw(axes: Axes, table: pd.DataFrame, metric: str, names: Sequence[str], lines: Mapping[str, float]) -> None:
    labels: list[tuple[float, str, Colour, str]] = []
    ink: Colour
    low, high = axes.get_ylim()
    for name, value in lines.items():
        ink, style = LINES[next(beginning for beginning in LINES if name.startswith(beginning))]
        if low <= value <= high:
            axes.axhline(value, color=ink, linestyle=style, linewidth=1.3)
        labels.append((value, f"{title(name)} {value:.1f}", ink, "bold"))
    for name in names:
        rows = table[table["variant"] == name].sort_values("step")
        ink = _shade(name, names)
        axes.fill_between(rows["level"], rows["seed_low"], rows["seed_high"], color=ink, alpha=0.13, linewidth=0)
        axes.plot(rows["level"], rows[metric], color=ink, linewidth=1.6, marker="o", markersize=3)
        end = float(rows[metric].iloc[-1])
        text = title(name, with_degrader=degrader(name) == "pixels")
        if lines or end > high:
            text += f" {end:.1f}" if lines else f" {end:.2g}"
        labels.append((end, text, ink, "normal"))
    levels = sorted(table.loc[are_variants(table["variant"]), "level"].unique())
    margin = 0.03 * max(levels[-1] - levels[0], 1)
    axes.set_xlim(levels[-1] + margin, levels[0] - margin)
    axes.set_xticks(levels)
    quiet(axes)
    labels = [
        (float(np.clip(value, low, high)), text + (" ↑" if value > high else " ↓" if value < low else ""), ink, weight)
        for value, text, ink, weight in sorted(labels, key=lambda label: label[0])
    ]
    places = spread_apart(np.array([label[0] for label in labels]), (high - low) / 20, low, high)
    for place, (value, text, ink, weight) in zip(places, labels, strict=True):
        axes.annotate(
            text,
            xy=(1.0, value),
            xytext=(1.07, place),
            xycoords=("axes fraction", "data"),
            textcoords=("axes fraction", "data"),
            fontsize=9,
            color=ink,
            weight=weight,
            va="center",
            arrowprops={"arrowstyle": "-", "color": ink, "lw": 0.7, "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5)},
        )


def _shade(name: str, names: Sequence[str]) -> tuple[float, ...]:
    """A family's members are told apart by how light they are."""
    members = [other for other in names if family(other) == family(name)]
    white = 0.5 * members.index(name) / len(members)
    return tuple((1 - white) * part + white for part in to_rgb(colour(name)))
