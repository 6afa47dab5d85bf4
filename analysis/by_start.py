"""The gap at a loop's end by the level that it began at: the table, what it says in words, and its figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis import figures
from analysis.starts import with_start, without_start
from analysis.variants import BASELINES, colour, ordered, title

COLUMNS = (*("variant", "start", "metric", "baseline", "gap", "ci_low", "ci_high", "num_fovs", "num_seeds", "verdict"),)
NAME = "gap_by_start"
ALT = {NAME: "Gap of each loop's end to each baseline against the level that the loop began at, with intervals"}
MARKERS = {"unet": "o", "nafnet": "s", "hdn": "^"}
DEEP_DB = 60.0  # below the baseline: what ends lower leaves the axes
APART = 0.09  # of a level, between the baselines' marks
PANELS_IN_A_ROW = 3


class ByStart(NamedTuple):
    """What the page shows: a sentence per variant, the table, the figure."""

    sentences: list[str]
    starts: list[int]  # the highest first
    rows: list[tuple[str, list[tuple[str, dict[int, dict[Any, Any]]]]]]  # variant → baseline → start → gap
    drawn: dict[str, Path]


def by_start(gap: pd.DataFrame, folder: Path) -> ByStart | None:
    """Of the gap table with all starts; draws the figure into a folder; None where every loop begins at T."""
    table = gap_by_start(gap)
    if not len(table):
        return None
    drawn = {NAME: figures.write(start_figure(table), table, folder, NAME)}
    rows = []
    for variant in ordered(table["variant"]):
        of_variant = table[table["variant"] == variant]
        by_baseline = [(name, of_variant[of_variant["baseline"] == name]) for name in _present(of_variant)]
        cells = [(name, {int(row["start"]): row for row in some.to_dict("records")}) for name, some in by_baseline]
        rows.append((variant, cells))
    starts = sorted((int(start) for start in table["start"].unique()), reverse=True)
    return ByStart(start_sentences(table), starts, rows, drawn)


def gap_by_start(gap: pd.DataFrame, metric: str = "psnr") -> pd.DataFrame:
    """Rows of the gap table at the end of every loop that begins at several levels, COLUMNS, the highest first.

    `variant` is the name that the loop has from T.
    """
    gap = with_start(gap)
    ends = gap[(gap["metric"] == metric) & (gap["level"] == 1)]
    plain = [without_start(*pair) for pair in zip(ends["variant"], ends["start"], strict=True)]
    ends = ends.assign(variant=plain)
    several = ends.groupby("variant")["start"].transform("nunique") > 1
    return ends[several][list(COLUMNS)].sort_values(
        ["variant", "start", "baseline"], ascending=[True, False, True], ignore_index=True
    )


def start_sentences(table: pd.DataFrame) -> list[str]:
    """For every variant: from which levels its end trails the best baseline there, in words.

    table: of `gap_by_start`. The best baseline of a level is the one to which the gap is the lowest.
    """
    return [_sentence(variant, table[table["variant"] == variant]) for variant in ordered(table["variant"])]


def start_figure(table: pd.DataFrame) -> Figure:
    """The gap with its interval against the start level, one panel per variant, one line per baseline.

    The panels have scales of their own: one loop trails by tens of dB where another does by one.
    """
    names = ordered(table["variant"])
    columns = min(len(names), PANELS_IN_A_ROW)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(max(4.0 * columns, 5.5), 3.3 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
    starts = sorted(table["start"].unique())
    baselines = _present(table)
    for axes, name in zip(grid.flat, names, strict=False):
        axes.axhline(0, color="#777777", linewidth=1)
        for k, baseline in enumerate(baselines):
            shown = table[(table["variant"] == name) & (table["baseline"] == baseline) & np.isfinite(table["gap"])]
            sides = [shown["gap"] - shown["ci_low"], shown["ci_high"] - shown["gap"]]
            axes.errorbar(
                shown["start"] + ((len(baselines) - 1) / 2 - k) * APART,
                shown["gap"],
                np.where(np.isfinite(sides), sides, 0),
                color=colour(name),
                linestyle=figures.LINES[baseline][1],
                marker=MARKERS[baseline],
                markersize=4,
                linewidth=1.4,
                capsize=2,
            )
        if axes.get_ylim()[0] < -DEEP_DB:  # a loop that diverged leaves the axes; its numbers are in the table
            axes.set_ylim(bottom=-DEEP_DB)
        axes.set_title(title(name), fontsize=11, loc="left")
        axes.set_xticks(starts)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    grid[0, 0].invert_xaxis()  # the haziest first, as everywhere
    for axes in grid[-1]:
        axes.set_xlabel("level t that the loop begins at")
    for axes in grid[:, 0]:
        axes.set_ylabel("gap at the end (dB)")
    handles = [
        Line2D([], [], color="#444444", linestyle=figures.LINES[one][1], marker=MARKERS[one], label=f"to {title(one)}")
        for one in baselines
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def _present(table: pd.DataFrame) -> list[str]:
    return [name for name in BASELINES if name in set(table["baseline"])]


def _sentence(variant: str, table: pd.DataFrame) -> str:
    name, finite = title(variant), table[np.isfinite(table["gap"])]
    if not len(finite):
        return f"{name} comes to a finite end from no level."
    hardest = finite.loc[finite.groupby("start")["gap"].idxmin()].sort_values("start", ascending=False)
    rows = hardest.to_dict("records")
    highest, lowest = rows[0], rows[-1]
    ends = f"{_told(highest)} from t = {highest['start']} and {_told(lowest)} from t = {lowest['start']}"
    if int(highest["num_seeds"]) < 3:
        return f"{name} ends {ends}; with fewer than three seeds it is not decided from which levels it trails."
    trails = [int(row["start"]) for row in rows if row["verdict"] == "trails"]
    others = [int(row["start"]) for row in rows if row["verdict"] != "trails"]
    if not others:
        return f"{name} trails the best baseline from every level that it begins at: it ends {ends}."
    if not trails:
        return f"{name} is not found to trail the best baseline from any level that it begins at: it ends {ends}."
    below = [row for row in rows if row["start"] < min(trails)]
    if not below:
        where = f"not when it begins at t = {_listed(others)}, but when it begins at t = {_listed(trails)}"
        return f"{name} trails the best baseline {where}: it ends {ends}."
    first = below[0]
    text = f"{name} trails the best baseline when it begins at t = {_listed(trails)}, and no longer from t = "
    text += f"{first['start']} down: from there it ends {_told(first)} ({first['verdict']}), and {_told(highest)} "
    return text + f"from t = {highest['start']}."


def _told(row: Mapping[str, Any]) -> str:
    """ "6.12 dB [5.80, 6.40] below UNet" """
    sign = -1 if row["gap"] < 0 else 1
    low, high = sorted((sign * row["ci_low"], sign * row["ci_high"]))
    where = "below" if sign < 0 else "above"
    return f"{abs(row['gap']):.2f} dB [{low:.2f}, {high:.2f}] {where} {title(str(row['baseline']))}"


def _listed(starts: list[int]) -> str:
    """ "6", "6 and 5" or "6, 5 and 3" """
    texts = [str(start) for start in starts]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
