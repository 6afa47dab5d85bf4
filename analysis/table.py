"""The gap table as it is read: one row per variant, at its end, beside each baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from analysis.starts import from_T
from analysis.variants import BASELINES, degrader, ordered, title


class Row(NamedTuple):
    """One variant: mean PSNR (dB) at its first and last prediction, and its last gap to each baseline."""

    variant: str
    first: float  # NaN where no trajectories are given
    end: float
    gaps: dict[str, pd.Series]  # baseline → row of the gap table


def gap_rows(
    gap: pd.DataFrame, final_step: int, trajectories: pd.DataFrame | None = None, metric: str = "psnr"
) -> list[Row]:
    """The rows of the gap table at `final_step`, or at a variant's own last step where that comes earlier.

    Of the loops from T alone.
    """
    gap = from_T(gap)
    chosen = gap[(gap["metric"] == metric) & (gap["step"] <= final_step)]
    last = chosen.groupby("variant")["step"].max()
    rows = []
    for variant in ordered(chosen["variant"]):
        of_variant = chosen[(chosen["variant"] == variant) & (chosen["step"] == last[variant])]
        gaps = {str(row["baseline"]): row for _, row in of_variant.iterrows()}
        first, end = float("nan"), float("nan")
        if trajectories is not None:
            means = trajectories[trajectories["variant"] == variant].groupby("step")[metric].mean()
            first, end = float(means.loc[means.index.min()]), float(means.loc[last[variant]])
        rows.append(Row(variant, first, end, gaps))
    return rows


def gap_table(
    gap: pd.DataFrame, final_step: int, trajectories: pd.DataFrame | None = None, metric: str = "psnr"
) -> str:
    """The table that the terminal prints: a line per variant, its gaps in dB with their intervals and verdicts.

    With the trajectories it also says the PSNR of the first prediction and of the last. RI is the range-invariant gap:
    brightness and contrast forgiven, what is left is structure.
    """
    rows = gap_rows(gap, final_step, trajectories, metric)
    baselines = [name for name in BASELINES if any(name in row.gaps for row in rows)]
    head = ["variant"]
    if trajectories is not None:
        head += ["first", "end"]
    head += [f"gap to {title(name)}, dB" for name in baselines]
    invariant = {row.variant: row.gaps for row in gap_rows(gap, final_step, metric="psnr_ri")}
    head += [f"RI to {title(name)}" for name in baselines[:1]]
    lines, group = [head], "chosen"
    for row in rows:
        if degrader(row.variant) != group:
            group = degrader(row.variant)
            lines.append([""] * len(head))
        line = [row.variant]
        if trajectories is not None:
            line += [f"{row.first:.1f}", f"{row.end:.1f}"]
        line += [gap_text(row.gaps[name]) for name in baselines]
        lines.append(line + [f"{invariant[row.variant][name]['gap']:+.2f}" for name in baselines[:1]])
    return aligned(lines)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Lines of as many cells each as text, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def gap_text(row: pd.Series) -> str:
    """A gap with its interval and verdict: "-6.12 [-6.40, -5.80] trails"."""
    return f"{row['gap']:+.2f} [{row['ci_low']:+.2f}, {row['ci_high']:+.2f}] {row['verdict']}"
