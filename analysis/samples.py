"""HDN's posterior samples: what averaging them gains, and whether their spread tells the error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

INK = "#0072B2"

Records = Mapping[int, Mapping[str, Any]]  # seed → what the evaluation wrote of its samples


def samples_table(records: Records) -> pd.DataFrame:
    """One row per seed and number of averaged samples (num, psnr in dB), then per seed and bin (spread, rmse)."""
    rows: list[dict[str, Any]] = []
    for seed, record in records.items():
        rows += [{"seed": seed, **one} for one in record["psnr"]]
    for seed, record in records.items():
        rows += [{"seed": seed, **one} for one in (record["calibration"] or {"bins": []})["bins"]]
    return pd.DataFrame(rows, columns=["seed", "num", "psnr", "spread", "rmse"])


def samples_figure(table: pd.DataFrame) -> Figure:
    """PSNR against the number of averaged samples, and RMSE against spread with the diagonal; a line per seed.

    table: of `samples_table`. The second panel is left out where no seed has a calibration.
    """
    by_number, bins = table.dropna(subset=["psnr"]), table.dropna(subset=["rmse"])
    num_panels = 2 if len(bins) else 1
    figure = Figure(figsize=(4.6 * num_panels, 3.7), layout="constrained")
    panels = figure.subplots(1, num_panels, squeeze=False)[0]
    for _, rows in by_number.groupby("seed"):
        panels[0].plot(rows["num"], rows["psnr"], color=INK, marker="o", markersize=3.5, linewidth=1.3)
    numbers = sorted(by_number["num"].astype(int).unique())
    panels[0].set_xscale("log", base=2)
    panels[0].set_xticks(numbers, [str(number) for number in numbers])
    panels[0].xaxis.set_minor_locator(NullLocator())
    panels[0].set(xlabel="posterior samples averaged", ylabel="PSNR (dB)")
    if len(bins):
        ends = np.array([0.0, 1.05 * max(bins["spread"].max(), bins["rmse"].max())])
        panels[1].plot(ends, ends, color="#777777", linestyle="--", linewidth=1)
        for _, rows in bins.groupby("seed"):
            panels[1].plot(rows["spread"], rows["rmse"], color=INK, marker="o", markersize=3.5, linewidth=1.3)
        panels[1].set(xlabel="spread of the samples", ylabel="RMSE of their mean", xlim=ends, ylim=ends)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    return figure


def samples_sentences(records: Records) -> list[str]:
    """What the samples say, in words; means over the seeds, nothing without records."""
    if not records:
        return []
    found = [*records.values()]
    num = int(found[0]["num_samples"])
    gains = [record["psnr"][-1]["psnr"] - record["psnr"][0]["psnr"] for record in found]
    said = [f"The mean of {num} samples lies {np.mean(gains):.2f} dB above a single one."] if num > 1 else []
    spreads = [record["spread"] for record in found if record["spread"] is not None]
    if spreads:
        said.append(
            f"A sample differs from the mean by {np.mean(spreads):.3f} normalised intensities (root mean square)."
        )
    fits = [record["calibration"] for record in found if record["calibration"]]
    slopes = [fit["slope"] for fit in fits if fit["slope"] is not None]
    if slopes:
        intercept = np.mean([fit["intercept"] for fit in fits if fit["intercept"] is not None])
        sure = (
            "too sure of itself" if np.mean(slopes) > 1.1 else "too unsure" if np.mean(slopes) < 0.9 else "calibrated"
        )
        said.append(
            f"RMSE against spread has slope {np.mean(slopes):.2f} and intercept {intercept:.3f}; 1 and 0 are a "
            f"calibrated posterior, a steeper line is one that is too sure: by its slope this one is {sure}."
        )
    else:
        said.append(f"There is no calibration: it takes four samples, but there {'is' if num == 1 else 'are'} {num}.")
    return said
