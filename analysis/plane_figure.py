"""The plane of fidelity and sharpness as a picture, with the Pareto front drawn through it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from analysis.facts import NOT_ITERATING
from analysis.figures import DEEP_DB, spread_apart
from analysis.plane import FIDELITIES
from analysis.variants import FAMILIES, ORACLES, OTHER, colour, family, title

MARKS = {"baseline": "s", "classical control": "^", "input": "x", "oracle": "D", "control": "o", "way to iterate": "o"}
NAMES = {"psnr": "PSNR (dB), higher is nearer to the truth", "psnr_ri": "range-invariant PSNR (dB)"}
FRONT = {"psnr": "on_front", "psnr_ri": "on_front_ri"}
LINEAR_DB, TICKS_DB = 1.0, (-50, -20, -10, -5, -2, -1, -0.5, 0)
GREY = "#111111"  # of what takes one step


def plane_figure(table: pd.DataFrame, source: str = "") -> Figure:
    """A panel per fidelity; whiskers reach from the lowest to the highest seed, the line is the Pareto front of the
    means.

    table: of `analysis.plane.plane_table`. Named are baselines, classical controls, the front and `source`, the loop of
    the source's form. What lies far outside stands at the edge of the axes.
    """
    figure = Figure(figsize=(12.4, 5.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    finite = table[np.isfinite(table["psnr"]) & table["sharpness_db"].notna()]
    for axes, fidelity in zip(panels, FIDELITIES, strict=True):
        (left, right), (low, high) = (_limits(finite, column) for column in (fidelity, "sharpness_db"))
        axes.set_xlim(left, right)
        axes.set_yscale("symlog", linthresh=LINEAR_DB)  # what matters lies near 0, and what is blurred far below
        axes.set_ylim(low, high)
        ticks = [tick for tick in TICKS_DB if low <= tick <= high]
        axes.set_yticks(ticks, [f"{tick:g}".replace("-", "−") for tick in ticks])
        axes.yaxis.set_minor_locator(NullLocator())
        front = finite[finite[FRONT[fidelity]]].sort_values(fidelity)
        axes.step(front[fidelity], front["sharpness_db"], where="pre", color="#bbbbbb", linewidth=2.5, zorder=1)
        for row in finite.to_dict("records"):
            _mark(axes, row, fidelity)
        axes.axhline(0, color="#777777", linestyle=":", linewidth=1)
        axes.set_xlabel(NAMES[fidelity])
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#eeeeee", linewidth=0.6)
        axes.set_axisbelow(True)
        named = finite["kind"].isin(["baseline", "classical control", "input", "oracle"]) | finite[FRONT[fidelity]]
        _name(axes, finite[named | (finite["method"] == source)], fidelity)
    panels[0].set_ylabel(
        "coherent power in the upper half of the passband,\nscaled down to the truth's power (dB), 0 as the truth"
    )
    figure.legend(handles=_handles(finite), loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return figure


def _limits(table: pd.DataFrame, column: str) -> tuple[float, float]:
    """Of an axis: all that lies no deeper than DEEP_DB below the lowest of input, baselines and classical controls."""
    values = table[column].replace(-np.inf, np.nan)
    known = values[table["kind"].isin(["baseline", "classical control", "input"])].min()
    low = max(values.min(), (known if np.isfinite(known) else values.min()) - DEEP_DB)
    high = values.max()
    if column == "sharpness_db":
        return 1.1 * min(low, -LINEAR_DB), 0.15 * LINEAR_DB
    pad = 0.05 * max(high - low, 1e-3)
    return low - pad, high + pad


def _mark(axes: Axes, row: dict, fidelity: str) -> None:
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    x, y = np.clip(row[fidelity], left, right), np.clip(row["sharpness_db"], low, high)
    inside = row[fidelity] >= left and row["sharpness_db"] >= low
    ink = colour(row["method"]) if row["kind"] in ("way to iterate", "control", "oracle") else GREY
    if inside:
        axes.plot([row[f"{fidelity}_low"], row[f"{fidelity}_high"]], [y, y], color=ink, linewidth=0.8, alpha=0.6)
        axes.plot([x, x], [row["sharpness_db_low"], row["sharpness_db_high"]], color=ink, linewidth=0.8, alpha=0.6)
    face = "white" if row["kind"] in ("oracle", "control") or not inside else ink
    axes.plot(x, y, MARKS[row["kind"]], color=ink, markerfacecolor=face, markersize=6, clip_on=False, zorder=3)


def _name(axes: Axes, rows: pd.DataFrame, fidelity: str) -> None:
    """Names to the right of the axes, apart from each other, a thin line from each to its point."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    rows = rows.sort_values(["sharpness_db", fidelity])
    x, y = rows[fidelity].clip(left, right), rows["sharpness_db"].clip(low, high)
    heights = (axes.transScale + axes.transLimits).transform(np.column_stack([x, y]))[:, 1]
    places = spread_apart(heights, 1 / 22, 0, 1)
    for name, kind, spot_x, spot_y, place in zip(rows["method"], rows["kind"], x, y, places, strict=True):
        ink = colour(name) if kind in ("way to iterate", "control", "oracle") else GREY
        axes.annotate(
            title(name).replace("control: ", ""),
            xy=(spot_x, spot_y),
            xytext=(1.03, place),
            xycoords="data",
            textcoords="axes fraction",
            fontsize=8.5,
            color=ink,
            weight="bold" if kind == "baseline" else "normal",
            va="center",
            arrowprops={
                "arrowstyle": "-",
                "color": ink,
                "lw": 0.5,
                "alpha": 0.5,
                "shrinkA": 1,
                "shrinkB": 4,
                "relpos": (0, 0.5),
            },
            annotation_clip=False,
        )


def _handles(table: pd.DataFrame) -> list[Line2D]:
    coloured = table["kind"].isin(["way to iterate", "control", "oracle"])
    kinds = [kind for kind in MARKS if kind in set(table.loc[~coloured, "kind"])]
    handles = [Line2D([], [], marker=MARKS[kind], linestyle="", color=GREY, label=kind) for kind in kinds]
    for name in dict.fromkeys(family(name) for name in table.loc[coloured, "method"]):
        words, ink = FAMILIES.get(name, OTHER)
        mark, face = ("D" if name in ORACLES else "o"), ("white" if name in NOT_ITERATING else ink)
        handles.append(Line2D([], [], marker=mark, linestyle="", color=ink, markerfacecolor=face, label=words))
    return [*handles, Line2D([], [], color="#bbbbbb", linewidth=2.5, label="Pareto front of the means")]
