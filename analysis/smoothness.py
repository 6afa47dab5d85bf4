"""Is the path of the latents smoother than that of the images, as the source hoped? A table and a sentence.

What each figure is, dehazing/stages/path.py tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.gap import interval
from analysis.trajectories import Confirmation, read_records

COLUMNS = ["seed", "seen", "domain", "measure", "group", "level", "value", "fields"]
MEASURES = {
    "length": "path over chord",
    "alpha": "of the variance on the line of Eq. 2 with fitted α_t",
    "span": "the same with gains of x₀ and x_T of their own",
    "next": "of the variance in a line from the level above",
}
SEEN = {"truth": "noise-free", "frames": "acquired"}


class PathRow(NamedTuple):
    """One line of the table: what was measured on what, and its texts, pixels first, then all groups, then each."""

    measure: str
    seen: str
    cells: list[str]


def read_path(root: Path | str, confirmation: Confirmation) -> pd.DataFrame:
    """How the series walks: one row per seed, what was seen, domain, measure, group and level; may be empty."""
    found: Mapping[int, Any] = read_records(root, confirmation, "path")
    rows = [{"seed": seed, **record} for seed, records in found.items() for record in records]
    return pd.DataFrame(rows, columns=COLUMNS)


def path_groups(path: pd.DataFrame) -> list[str]:
    """The latents' columns of the table, all groups first."""
    latents = path[path["domain"] == "latents"]
    return [f"z{group}" if group else "latents" for group in sorted(latents["group"].unique())]


def path_rows(path: pd.DataFrame) -> list[PathRow]:
    """The table: means over seeds; lengths ± their spread over the fields, shares as the mean over levels and, where
    there are several, the lowest with its level.
    """
    groups = sorted(path.loc[path["domain"] == "latents", "group"].unique())
    columns = [("pixels", 0), *(("latents", group) for group in groups)]
    rows = []
    for measure, title in MEASURES.items():
        for seen, word in SEEN.items():
            found = path[(path["measure"] == measure) & (path["seen"] == seen)]
            if len(found):
                of_cell = (found[(found["domain"] == d) & (found["group"] == group)] for d, group in columns)
                rows.append(PathRow(title, word, [_cell(one, measure) for one in of_cell]))
    return rows


def path_sentence(path: pd.DataFrame) -> str:
    """Whose path is the straighter one, paired by field, and whose levels tell more of the next; "" where not known."""
    seen = next((name for name in SEEN if name in set(path["seen"])), None)
    if seen is None:
        return ""
    lengths, shares = (
        {d: _all_groups(path, seen, d, measure) for d in ("latents", "pixels")} for measure in ("length", "next")
    )
    by_field = {d: np.array([*rows["fields"]]) for d, rows in lengths.items()}  # (seeds, fields)
    found = interval((by_field["latents"] - by_field["pixels"])[None])
    low, high = float(found.ci_low[0]), float(found.ci_high[0])
    of_latents, of_pixels = (by_field[d].mean() for d in ("latents", "pixels"))
    text = (
        f"{'Noise-free' if seen == 'truth' else 'As acquired'}, the path of the latents is {of_latents:.2f} times as "
        f"long as its chord, that of the pixels {of_pixels:.2f} times: "
    )
    if low <= 0 <= high:
        text += f"neither is straighter (difference {found.gap[0]:+.2f} [{low:+.2f}, {high:+.2f}])"
    else:
        text += f"the {'latents' if high < 0 else 'pixels'}' is straighter, by {abs(found.gap[0]):.2f} "
        text += f"[{min(abs(low), abs(high)):.2f}, {max(abs(low), abs(high)):.2f}]"
    latents, pixels = (shares[d]["value"].mean() for d in ("latents", "pixels"))
    return text + (
        f". A line from the level above explains {100 * latents:.0f} % of the next latent's variance, and "
        f"{100 * pixels:.0f} % of the next image's."
    )


def _all_groups(path: pd.DataFrame, seen: str, domain: str, measure: str) -> pd.DataFrame:
    chosen = (path["seen"] == seen) & (path["domain"] == domain) & (path["measure"] == measure) & (path["group"] == 0)
    return path[chosen].sort_values("seed")


def _cell(rows: pd.DataFrame, measure: str) -> str:
    if measure == "length":
        by_field = np.array([*rows["fields"]]).mean(0)
        return f"{by_field.mean():.2f} ± {by_field.std():.2f}"
    by_level = rows.groupby("level")["value"].mean()
    lowest = f" ({by_level.min():.3f} at t = {by_level.idxmin():.0f})" if len(by_level) > 1 else ""
    return f"{by_level.mean():.3f}{lowest}"
