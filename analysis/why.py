"""What the report says of why the loops trail: the sentence, the tables, the figures with their data files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis import attribution, figures
from analysis.attribution import PART_TITLES, PARTS, WHOLE, ratio, shares
from analysis.attribution_figures import growth_figure, growth_means, shares_figure
from analysis.scores import values_of
from analysis.trajectories import Confirmation
from analysis.variants import BASELINES, title

ALT = {
    "attribution": "Share of each module in the error above the ceiling at every level, and by frequency band",
    "error_growth": "Free-running and teacher-forced errors, growth of a small error, and distance from the manifold",
}


class Why(NamedTuple):
    """Of the source's loop: the sentence and its errors; then what is knowable of each level; pictures by name."""

    sentence: str
    parts: list[attribution.Part]
    has_encoder: bool  # whether noise-free images are known, so that E has an oracle
    knowable: list[tuple[str, str, str, list[str]]]
    levels: list[int]  # of `knowable`
    drawn: dict[str, Path]


def why(
    root: Path | str, confirmation: Confirmation, gap: pd.DataFrame, trajectories: pd.DataFrame, folder: Path
) -> Why | None:
    """Reads the stage's tables and draws its figures into a folder; None where the stage was not run."""
    table = attribution.read_attribution(root, confirmation)
    if not len(table):
        return None
    growth = growth_means(attribution.read_attribution(root, confirmation, "growth"))
    knowable = attribution.read_knowable(root, confirmation)
    shared = shares(table)
    drawn = {
        "attribution": figures.write(shares_figure(shared), shared, folder, "attribution"),
        "error_growth": figures.write(growth_figure(growth), growth, folder, "error_growth"),
    }
    variant = "direct" if "direct" in set(table["variant"]) else str(table["variant"].iloc[0])
    of_encoder = table[(table["what"] == "share") & (table["module"] == "E") & (table["level"] == WHOLE)]
    return Why(
        sentence=sentence(table, gap, variant),
        parts=attribution.apart(table, trajectories, variant),
        has_encoder=bool((of_encoder["error"] != 0).any()),
        knowable=attribution.knowable_rows(knowable),
        levels=sorted(knowable["level"].unique()),
        drawn=drawn,
    )


def sentence(table: pd.DataFrame, gap: pd.DataFrame, variant: str = "direct") -> str:
    """How far a loop trails, through which module, and where: generated from the numbers; "" where it is not there."""
    of_variant = table[table["variant"] == variant] if len(table) else table
    if not len(of_variant):
        return ""
    text = _trails(gap, variant)
    whole = values_of(of_variant[of_variant["what"] == "loop"], "error")
    if not np.isfinite(whole).all():
        return f"{text}; its error is not finite, so no module's share of it can be told."
    if not whole.any():
        return f"{text}; it ends on the ceiling, so there is no error to share out."
    known = shares(of_variant)
    of_modules = known[(known["level"] == WHOLE) & (known["part"] == "error")].set_index("module")["share"]
    of_modules = of_modules.sort_values(ascending=False)
    first, second = of_modules.index[:2]
    difference = ratio(*_difference(of_variant, first, second, whole))
    if difference[1] > 0:
        text += f"; of the error above the ceiling {_percent(known, first)} enters through {first}"
        text += f"{_where(known, first)}."
    else:
        text += f"; of the error above the ceiling {_percent(known, first)} enters through {first} and "
        text += f"{_percent(known, second)} through {second}, with no telling which is more."
    others = [name for name in of_modules.index if name not in (first,) and (name != second or difference[1] > 0)]
    if others:
        text += f" {', '.join(f'{name}: {_percent(known, name)}' for name in others)}."
    return text + f" {_frequencies(known, first)}"


def _difference(rows: pd.DataFrame, first: str, second: str, whole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    of_loop = rows[(rows["what"] == "share") & (rows["level"] == WHOLE)]
    one, other = (values_of(of_loop[of_loop["module"] == name], "error") for name in (first, second))
    return one - other, whole


def _trails(gap: pd.DataFrame, variant: str) -> str:
    """ "direct trails the UNet by 6.1 dB [5.8, 6.4] at its end" """
    rows = gap[(gap["variant"] == variant) & (gap["metric"] == "psnr")]
    baseline = next((name for name in BASELINES if name in set(rows["baseline"])), None)
    if baseline is None:
        return title(variant).capitalize()
    row = rows[rows["baseline"] == baseline].sort_values("step").iloc[-1]
    if not np.isfinite(row["gap"]):
        return f"{title(variant)} does not come to a finite end"
    sign = -1 if row["gap"] < 0 else 1
    low, high = sorted((sign * row["ci_low"], sign * row["ci_high"]))
    size = f"{abs(row['gap']):.1f} dB [{low:.1f}, {high:.1f}]"
    the = "the UNet" if baseline == "unet" else title(baseline)
    if row["verdict"] in ("trails", "beats"):
        return f"{title(variant)} {row['verdict']} {the} by {size} at its end"
    return f"{title(variant)} lies {size} {'below' if sign < 0 else 'above'} {the} at its end ({row['verdict']})"


def _percent(known: pd.DataFrame, module: str) -> str:
    row = known[(known["module"] == module) & (known["level"] == WHOLE) & (known["part"] == "error")].iloc[0]
    return f"{100 * row['share']:.0f} % [{100 * row['ci_low']:.0f}, {100 * row['ci_high']:.0f}]"


def _where(known: pd.DataFrame, module: str) -> str:
    """ ", most at levels 5-3": the shortest run of its levels that holds more than half of a module's share."""
    rows = known[(known["module"] == module) & (known["level"] != WHOLE) & (known["part"] == "error")]
    by_level = rows.set_index("level")["share"].sort_index(ascending=False)
    if len(by_level) < 2:
        return ""
    run = shortest_run(by_level.to_numpy())
    levels = [int(level) for level in by_level.index.to_numpy()[run]]
    return f", most at level{'s' if len(levels) > 1 else ''} {levels[0]}" + f"-{levels[-1]}" * (len(levels) > 1)


def shortest_run(values: Sequence[float] | np.ndarray) -> slice:
    """The shortest run of neighbours that sums to more than half of all; of equally short ones the largest."""
    values = np.asarray(values)
    for length in range(1, len(values) + 1):
        sums = np.convolve(values, np.ones(length), "valid")
        if sums.max() > values.sum() / 2:
            start = int(sums.argmax())
            return slice(start, start + length)
    return slice(0, len(values))


def _frequencies(known: pd.DataFrame, module: str) -> str:
    """Of what a module is to blame for, how much is brightness and how much lies in the largest band."""
    rows = known[(known["module"] == module) & (known["level"] == WHOLE)].set_index("part")["share"]
    parts = rows.drop("error")
    percent = 100 * parts / parts.sum()
    band = str(percent.drop("offset").idxmax())
    where = PART_TITLES[PARTS.index(band)]
    return (
        f"What enters through {module} is {percent['offset']:.0f} % a wrong brightness, and {percent[band]:.0f} % "
        f"lies at {where} cycles/px."
    )
