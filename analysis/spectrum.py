"""Which detail a restoration has, and whether it is the truth's: power and coherence over spatial frequency."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from analysis.figures import LINES, quiet
from analysis.measures import BAND_EDGES, NUM_BANDS
from analysis.scores import at_the_end
from analysis.variants import colour, is_variant, title

YLABELS = {"power": "power over the reference's", "coherence": "coherence with the reference"}
WIDEST = 20.0  # a power ratio beyond this, or below its inverse, leaves the axes


def spectrum_table(trajectories: pd.DataFrame, quantity: str, names: list[str]) -> pd.DataFrame:
    """Means over fields and seeds: variant, band, low, high (cycles/px), <quantity>, seed_low, seed_high.

    quantity: power | coherence. names: of the methods, in their order; those that were not measured, or not finite,
    are left out.
    """
    ends, rows = at_the_end(trajectories), []
    for name in names:
        of_name = ends[ends["variant"] == name]
        for band in range(NUM_BANDS):
            column = f"{quantity}_{band}"
            if column not in of_name or not len(of_name) or not np.isfinite(of_name[column]).all():
                continue
            seeds = of_name.groupby("seed")[column].mean()
            found = (float(of_name[column].mean()), float(seeds.min()), float(seeds.max()))
            rows.append((name, band, BAND_EDGES[band], BAND_EDGES[band + 1], *found))
    return pd.DataFrame(rows, columns=["variant", "band", "low", "high", quantity, "seed_low", "seed_high"])


def spectrum_figure(table: pd.DataFrame, quantity: str, source: str) -> Figure:
    """A line per method over the bands' middles, the bands from the lowest to the highest seed; 1 is the reference.

    table: of `spectrum_table`. source: the method that is the source's form, and named so; "" where none is.
    """
    figure = Figure(figsize=(4.9, 4.3), layout="constrained")
    axes = figure.subplots()
    axes.axhline(1, color="#bbbbbb", linewidth=0.8)
    for name in dict.fromkeys(table["variant"]):
        rows = table[table["variant"] == name]
        middles = (rows["low"] + rows["high"]) / 2
        ink, style = _ink(name, source)
        label = title(name) + (" (the source's)" if name == source else " (the best)" * is_variant(name))
        axes.fill_between(middles, rows["seed_low"], rows["seed_high"], color=ink, alpha=0.13, linewidth=0)
        axes.plot(middles, rows[quantity], color=ink, linestyle=style, marker="o", markersize=3.5, label=label)
    axes.set_xticks(BAND_EDGES, [f"{edge:g}" for edge in BAND_EDGES])
    axes.set_xlim(BAND_EDGES[0], BAND_EDGES[-1])
    axes.set_xlabel("spatial frequency (cycles/px)")
    axes.set_ylabel(YLABELS[quantity])
    if quantity == "power":
        axes.set_yscale("log")
        low, high = table["seed_low"].min(), table["seed_high"].max()
        axes.set_ylim(max(1 / WIDEST, min(0.5, 0.8 * low)), min(WIDEST, max(2.0, 1.25 * high)))
        low, high = axes.get_ylim()
        ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if low <= tick <= high]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(min(0.0, table["seed_low"].min()), 1.03)
    quiet(axes)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _ink(name: str, source: str) -> tuple[str, str]:
    """Colour and style; of two loops of one family the other one is dotted."""
    if is_variant(name):
        return colour(name), ":" if name != source and colour(name) == colour(source) else "-"
    return next((ink for beginning, ink in LINES.items() if name.startswith(beginning)), ("#777777", ":"))
