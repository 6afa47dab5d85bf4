"""The gap at a loop's end by the level that it began at: the table, what it says in words, and its figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis import figures
from analysis.facts import told
from analysis.gap import verdict
from analysis.starts import from_T, with_start, without_start
from analysis.variants import BASELINES, colour, ordered, title

COLUMNS = (*("variant", "start", "metric", "baseline", "gap", "ci_low", "ci_high", "num_fovs", "num_seeds", "verdict"),)
NAMES = {"psnr": "gap_by_start", "psnr_ri": "gap_by_start_ri"}  # metric → its figure
ALT = {
    NAMES["psnr"]: "Gap of each loop's end to each baseline against the level that the loop began at, with intervals",
    NAMES["psnr_ri"]: "The same gap with brightness and contrast forgiven, against the level that the loop began at",
}
YLABELS = {"psnr": "gap at the end (dB)", "psnr_ri": "range-invariant gap (dB)"}
PHRASES = {"trails": "trails", "ties": "ties with", "beats": "beats", "undecided": "is undecided against"}
MARKERS = {"unet": "o", "nafnet": "s", "hdn": "^"}
FLOOR_DB = 60.0  # below the baseline: what ends lower leaves the axes
APART = 0.09  # of a level, between the baselines' marks
PANELS_IN_A_ROW = 3


class ByStart(NamedTuple):
    """What the page shows: a sentence per variant, the table, the figure."""

    sentences: list[str]
    starts: list[int]  # the highest first
    rows: list[tuple[str, list[tuple[str, str, dict[int, dict[Any, Any]]]]]]  # variant → baseline, metric, start → gap
    from_T_alone: list[str]  # loops that were not begun lower
    drawn: dict[str, Path]


def by_start(gap: pd.DataFrame, folder: Path) -> ByStart | None:
    """Of the gap table with all starts; draws a figure per metric into a folder; None where every loop begins at T."""
    tables = {metric: gap_by_start(gap, metric) for metric in NAMES}
    table = tables["psnr"]
    if not len(table):
        return None
    drawn = {
        NAMES[metric]: figures.write(start_figure(one), one, folder, NAMES[metric]) for metric, one in tables.items()
    }
    rows = []
    for variant in ordered(table["variant"]):
        cells = []
        for baseline, (metric, one) in product(_present(table), tables.items()):
            some = one[(one["variant"] == variant) & (one["baseline"] == baseline)].to_dict("records")
            cells.append((baseline, metric, {int(row["start"]): row for row in some}))
        rows.append((variant, cells))
    starts = sorted((int(start) for start in table["start"].unique()), reverse=True)
    alone = ordered(set(from_T(gap)["variant"]) - set(table["variant"]))
    return ByStart(start_sentences(table, tables["psnr_ri"]), starts, rows, alone, drawn)


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


def start_sentences(table: pd.DataFrame, invariant: pd.DataFrame | None = None) -> list[str]:
    """For every variant: from which levels its end trails the best baseline there, in words.

    table: of `gap_by_start`; invariant: the same in range-invariant PSNR. The best baseline of a level is the one to
    which the gap is the lowest. All levels are judged by their interval, because Holm's families of T and of the lower
    levels differ in size, and a loop must not look better from T for that; what Holm leaves undecided is said.
    """
    forgiven = table[:0] if invariant is None else invariant
    names = ordered(table["variant"])
    return [_sentence(name, *(one[one["variant"] == name] for one in (table, forgiven))) for name in names]


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
            # with NaN where an end is not finite, so that the line is broken there
            shown = table[(table["variant"] == name) & (table["baseline"] == baseline)]
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
        if axes.get_ylim()[0] < -FLOOR_DB:  # a loop that diverged leaves the axes; its numbers are in the table
            axes.set_ylim(bottom=-FLOOR_DB)
        axes.set_title(title(name), fontsize=11, loc="left")
        axes.set_xticks(starts)
        figures.quiet(axes)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    grid[0, 0].invert_xaxis()  # the haziest first, as everywhere
    for axes in list(grid.flat)[max(len(names) - columns, 0) : len(names)]:  # the lowest panel of each column
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("level t that the loop begins at")
    for axes in grid[:, 0]:
        axes.set_ylabel(YLABELS[str(table["metric"].iloc[0])])
    handles = [
        Line2D([], [], color="#444444", linestyle=figures.LINES[one][1], marker=MARKERS[one], label=f"to {title(one)}")
        for one in baselines
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def _present(table: pd.DataFrame) -> list[str]:
    return [name for name in BASELINES if name in set(table["baseline"])]


def _sentence(variant: str, table: pd.DataFrame, invariant: pd.DataFrame) -> str:
    name, rows, forgiven = title(variant), _to_the_best(table), _to_the_best(invariant)
    if not rows:
        return f"{name} comes to a finite end from no level."
    lost = sorted(set(table["start"]) - {row["start"] for row in rows}, reverse=True)
    lead = f"{name} comes to no finite end from t = {_listed(lost)}. " if lost else ""
    ends = f"it ends {_ends(rows)}"
    if int(rows[0]["num_seeds"]) < 3:
        text = f"With fewer than three seeds {name} is not judged: {ends}."
    else:
        every = "every other level" if lost else "every level that it begins at"
        text = f"By its intervals, {name} {_judged(rows, every)}: {ends}."
    if forgiven:
        text += f" With brightness and contrast forgiven it ends {_ends(forgiven)}."
    open_ones = [int(row["start"]) for row in rows if row["verdict"] == "undecided" != _by_interval(row)]
    if open_ones:
        text += f" Corrected for the number of comparisons, the verdict is undecided from t = {_listed(open_ones)}."
    return lead + text


def _to_the_best(table: pd.DataFrame) -> list[dict[Any, Any]]:
    """Of every start with a finite end, the highest first, the row of the baseline that is best there."""
    finite = table[np.isfinite(table["gap"])]
    hardest = finite.loc[finite.groupby("start")["gap"].idxmin()].sort_values("start", ascending=False)
    return hardest.to_dict("records")


def _by_interval(row: Mapping[str, Any]) -> str:
    """The verdict that its interval alone would give: one rule for all levels, whatever Holm's family of each."""
    return verdict(row["ci_low"], row["ci_high"], np.nan, int(row["num_seeds"]))


def _judged(rows: Sequence[Mapping[str, Any]], every: str) -> str:
    """ "trails the best baseline from t = 3 and 2, and is undecided against it from t = 1" """
    starts: dict[str, list[int]] = {}
    for row in rows:
        starts.setdefault(_by_interval(row), []).append(int(row["start"]))
    said = list[str]()
    for found, phrase in PHRASES.items():
        if found in starts:
            levels = every if len(starts) == 1 else f"t = {_listed(starts[found])}"
            said.append(f"{phrase} {'it' if said else 'the best baseline'} from {levels}")
    return f"{', '.join(said[:-1])}, and {said[-1]}" if len(said) > 1 else said[0]


def _ends(rows: Sequence[Mapping[str, Any]]) -> str:
    """ "6.12 dB below the UNet [5.80, 6.40] from t = 3 and 0.90 dB below HDN [0.60, 1.10] from t = 1" """
    shown = rows[:1] if len(rows) == 1 else [rows[0], rows[-1]]
    return " and ".join(
        f"{told(row['baseline'], row['gap'], row['ci_low'], row['ci_high'], 2)} from t = {row['start']}"
        for row in shown
    )


def _listed(starts: Sequence[int]) -> str:
    """ "6", "6 and 5" or "6, 5 and 3" """
    texts = [str(start) for start in starts]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
