"""One scientific hyperparameter at a time, the nuisance ones at their best: the best objective within each bin.

Of every bin of a hyperparameter's values the best trial stands, whatever else it was given: so a poor learning rate is
not held against a weight. The best of many trials is luckier than the best of few, so each bin says how many it has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import quiet
from analysis.spaces import Space, searched

COLUMNS = ("study", "metric", "parameter", "bin", "low", "high", "num_trials", "best", "median", "number")
NUM_BINS, TRIALS_PER_BIN = 8, 4  # at most, and wished for
EDGE = 0.05  # of a range (of its logarithm): nearer to its end counts as on it
FEW = 10  # trials, below which a warning says how few there are
INK = "#0072B2"


def isolation(trials: pd.DataFrame, spaces: Mapping[str, Space]) -> pd.DataFrame:
    """One row per study, scientific hyperparameter and bin that has a trial, COLUMNS.

    best and number: objective and trial that is best within low … high (or has the choice `bin`); median: of all there.
    """
    rows = []
    for study, space in spaces.items():
        table, names = searched(trials, study, space)
        for name in names:
            if space.role(name) != "scientific":
                continue
            having = table[table[name].notna()]
            for label, low, high, members in _bins(having, name, space.ranges[name]):
                best = _best(members, space)
                found = (float(best["objective"]), float(members["objective"].median()), int(best["number"]))
                rows.append((study, space.metric, name, label, low, high, len(members), *found))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def boundary_warnings(trials: pd.DataFrame, spaces: Mapping[str, Space]) -> list[str]:
    """A sentence for each range on whose end the best trial of its study lies; none where the range is not known."""
    said = []
    for study, space in spaces.items():
        table, names = searched(trials, study, space)
        if not space.is_recorded or not len(table):
            continue
        best = _best(table, space)
        for name in names:
            domain = space.ranges[name]
            if "choices" in domain or not pd.notna(best[name]):
                continue
            side = _side(float(best[name]), domain)
            if side:
                bounds = f"{domain['low']:g} to {domain['high']:g}"
                few = f", though of {len(table)} trials alone" if len(table) < FEW else ""
                at_zero = side == "lower" and domain["low"] == 0
                advice = "leaving it out may be best" if at_zero else "a better value may lie beyond"
                said.append(
                    f"{study}: the best trial has {name} = {best[name]:.3g} on the {side} end of its range "
                    f"{bounds}{few}: {advice}."
                )
    return said


def isolation_figure(table: pd.DataFrame, trials: pd.DataFrame, spaces: Mapping[str, Space], study: str) -> Figure:
    """A panel per scientific hyperparameter of a study: every trial as a dot, the best of each bin as a line.

    table: of `isolation`. Dashed lines are the ends of the range; the ring is the best trial. What is far worse than
    most lies below the axes.
    """
    space = spaces[study]
    dots, _ = searched(trials, study, space)
    rows = table[table["study"] == study]
    names = list(dict.fromkeys(rows["parameter"]))
    columns = min(len(names), 4)
    num_rows = -(-len(names) // columns)
    figure = Figure(figsize=(2.9 * columns + 0.5, 2.5 * num_rows + 0.2), layout="constrained")
    grid = figure.subplots(num_rows, columns, squeeze=False, sharey=True)
    for axes, name in zip(grid.flat, names, strict=False):
        _panel(axes, rows[rows["parameter"] == name], dots, name, space)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel(space.metric)
    grid[0, 0].set_ylim(*_limits(dots["objective"], space.maximise))
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, dots: pd.DataFrame, name: str, space: Space) -> None:
    domain, having = space.ranges[name], dots[dots[name].notna()]
    best = _best(having, space)
    if "choices" in domain:
        labels = list(rows["bin"])
        places = {label: float(k) for k, label in enumerate(labels)}
        jitter = 0.25 * (np.linspace(-1, 1, len(having)) if len(having) > 1 else np.zeros(len(having)))
        axes.plot(having[name].map(places) + jitter, having["objective"], ".", color="#999999", markersize=3)
        axes.plot(range(len(labels)), rows["best"], "_", color=INK, markersize=22, markeredgewidth=2)
        axes.set_xticks(range(len(labels)), labels, rotation=20 if len(labels) > 3 else 0, fontsize=8)
        at = places[best[name]]
        middles = list(places.values())
    else:
        log = bool(domain.get("log", False))
        if log:
            axes.set_xscale("log")
        axes.plot(having[name], having["objective"], ".", color="#999999", markersize=3)
        axes.hlines(rows["best"], rows["low"], rows["high"], color=INK, linewidth=2)
        for end in (domain["low"], domain["high"]) if space.is_recorded else ():
            axes.axvline(end, color="#bbbbbb", linestyle="--", linewidth=0.8)
        at = float(best[name])
        middles = list((rows["low"] * rows["high"]) ** 0.5 if log else (rows["low"] + rows["high"]) / 2)
    axes.plot([at], [best["objective"]], "o", markerfacecolor="none", color="#D55E00", markersize=8)
    for place, num in zip(middles, rows["num_trials"], strict=True):
        axes.annotate(
            str(num), (place, 0.01), xycoords=("data", "axes fraction"), fontsize=7, color="#777777", ha="center"
        )
    axes.set_title(name, fontsize=10, loc="left")
    quiet(axes)


def _best(rows: pd.DataFrame, space: Space) -> pd.Series:
    """The row of the best objective."""
    objective = rows["objective"].to_numpy()
    return rows.iloc[int(objective.argmax() if space.maximise else objective.argmin())]


def _bins(having: pd.DataFrame, name: str, domain: Mapping[str, Any]) -> list[tuple[str, float, float, pd.DataFrame]]:
    """Label, low, high (NaN of a choice) and the trials of every bin that has some; equal widths over the range."""
    if "choices" in domain:
        return [(str(label), math.nan, math.nan, members) for label, members in having.groupby(name)]
    low, high = min(float(domain["low"]), having[name].min()), max(float(domain["high"]), having[name].max())
    whole = isinstance(domain["low"], int)
    if whole and high - low < NUM_BINS:
        return [
            (f"{value:g}", value - 0.5, value + 0.5, members)
            for value in sorted(set(having[name]))
            for members in [having[having[name] == value]]
        ]
    num = int(np.clip(len(having) // TRIALS_PER_BIN, 2, NUM_BINS))
    edges = np.geomspace(low, high, num + 1) if domain.get("log", False) else np.linspace(low, high, num + 1)
    of_bin = np.clip(np.searchsorted(edges, having[name].to_numpy(), side="right") - 1, 0, num - 1)
    return [
        (f"{edges[k]:.3g} to {edges[k + 1]:.3g}", float(edges[k]), float(edges[k + 1]), having[of_bin == k])
        for k in range(num)
        if (of_bin == k).any()
    ]


def _side(value: float, domain: Mapping[str, Any]) -> str:
    """lower | upper where a value lies on the end of its range, else "". Of two or three whole numbers, too."""
    low, high = float(domain["low"]), float(domain["high"])
    if not low < high:
        return ""
    if domain.get("log", False):
        value, low, high = math.log(value), math.log(low), math.log(high)
    share = (value - low) / (high - low)
    return "lower" if share <= EDGE else "upper" if share >= 1 - EDGE else ""


def _limits(values: Sequence[float] | pd.Series, maximise: bool) -> tuple[float, float]:
    """Of the axis: all that is not far worse than the middle, so that a few that diverged do not flatten the rest."""
    ordered = np.sort(np.asarray(values, float)) * (1 if maximise else -1)
    middle, top = np.median(ordered), ordered.max()
    low = max(ordered.min(), middle - 3 * max(top - middle, 1e-6))
    pad = 0.08 * max(top - low, 1e-6)
    low, high = low - 1.5 * pad, top + pad
    return (low, high) if maximise else (-high, -low)
