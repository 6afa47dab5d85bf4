"""On which fields a loop lies how far from the best baseline: every field's gap, and the worst and best one shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import quiet
from analysis.pictures import INCHES, Images, grey_scale
from analysis.scores import at_the_end, best_baseline
from analysis.variants import colour, the, title

COLUMNS = ("variant", "baseline", "field", "seed", "psnr", "of_baseline", "gap", "mean_gap")
EXTREMES = ("worst", "best")


class Shown(NamedTuple):
    """A field's pictures, (Y, X) each: what was kept of the worst or the best one of a loop."""

    variant: str
    baseline: str
    which: str  # worst | best
    field: str
    pictures: dict[str, np.ndarray]  # input, <baseline>, <variant>, truth


def field_gaps(trajectories: pd.DataFrame, loops: Sequence[str], baseline: str = "") -> pd.DataFrame:
    """One row per loop, field and seed, COLUMNS: its PSNR at its end and its gap (dB) to a baseline.

    baseline: the one of highest mean PSNR at T where none is given. mean_gap is over the seeds; by it, the worst first,
    a loop's fields are sorted. What is not finite is of a loop that diverged.
    """
    ends = at_the_end(trajectories)
    scores = {str(name): rows.set_index(["field", "seed"])["psnr"] for name, rows in ends.groupby("variant")}
    baseline = baseline or best_baseline(ends)
    tables = []
    for loop in loops:
        table = pd.DataFrame({"psnr": scores[loop], "of_baseline": scores[baseline]}).reset_index()
        table = table.assign(variant=loop, baseline=baseline, gap=table["psnr"] - table["of_baseline"])
        table["mean_gap"] = table.groupby("field")["gap"].transform(lambda gaps: gaps.mean(skipna=False))
        tables.append(table.sort_values(["mean_gap", "field", "seed"], na_position="first"))
    return pd.concat(tables, ignore_index=True)[list(COLUMNS)] if tables else pd.DataFrame(columns=list(COLUMNS))


def field_sentences(table: pd.DataFrame) -> list[str]:
    """Each loop's worst and best field, and on how many all seeds agree; table: of `field_gaps`."""
    said = []
    for variant, rows in table.groupby("variant", sort=False):
        name, baseline = title(str(variant)), rows["baseline"].iloc[0]
        means = rows.groupby("field", sort=False)["mean_gap"].first()
        if not np.isfinite(means).all():
            num = int((~np.isfinite(means)).sum())
            said.append(f"{name} did not come to a finite end on {num} of {len(means)} fields.")
            continue
        of_field = rows.groupby("field")["gap"]
        below, above = int((of_field.max() < 0).sum()), int((of_field.min() > 0).sum())
        seeds = "in every seed" if rows["seed"].nunique() > 1 else "in the only seed"
        said.append(
            f"{name} against {the(baseline)}, the baseline of highest PSNR: worst on {means.index[0]}, "
            f"{_side(means.iloc[0])}, best on {means.index[-1]}, {_side(means.iloc[-1])}; of {len(means)} fields it "
            f"is below on {below} and above on {above} {seeds}."
        )
    return said


def field_figure(table: pd.DataFrame) -> Figure:
    """A panel per loop: the fields from the worst to the best, a dot for the mean of the seeds, a small mark for each.

    table: of `field_gaps`, the rows that are finite.
    """
    loops = [*dict.fromkeys(table["variant"])]
    figure = Figure(figsize=(5.6 * len(loops), 3.8), layout="constrained")
    for axes, loop in zip(figure.subplots(1, len(loops), squeeze=False)[0], loops, strict=True):
        rows = table[table["variant"] == loop]
        places = {field: place for place, field in enumerate(dict.fromkeys(rows["field"]), 1)}
        means = rows.groupby("field", sort=False)["mean_gap"].first()
        x = [places[field] for field in rows["field"]]
        axes.axhline(0, color="#333333", linewidth=0.9)
        axes.plot(x, rows["gap"], "_", color="#777777", markersize=5, label="one seed")
        axes.plot([*places.values()], means, "o", color=colour(loop), markersize=4.5, label="mean of the seeds")
        of_field = rows.groupby("field", sort=False)["gap"]
        how = {"textcoords": "offset points", "fontsize": 8.5}
        axes.annotate(means.index[0], (1, of_field.min().iloc[0]), (-3, -13), ha="left", **how)
        if len(means) > 1:
            axes.annotate(means.index[-1], (len(means), of_field.max().iloc[-1]), (3, 7), ha="right", **how)
        axes.set_title(f"{title(loop)} against {title(table['baseline'].iloc[0])}", fontsize=11, loc="left")
        axes.set_xlabel("test fields, sorted by the mean gap")
        axes.set_xlim(0, len(places) + 1)
        axes.margins(y=0.12)
        quiet(axes)
    figure.axes[0].set_ylabel("gap in PSNR (dB), above 0 is better")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def shown_extremes(images: Images, record: Mapping[str, Any], loops: Sequence[str]) -> list[Shown]:
    """The worst and the best field of each loop in the seed whose pictures were kept; empty where none were.

    images: of `read_examples`; record: extremes.json of that seed (dehazing/stages/kept_pictures.py).
    """
    found = []
    for loop in loops:
        fields = record.get("loops", {}).get(loop, ())
        if not fields or f"{loop}/extremes" not in images:
            continue
        baseline = record["baseline"]
        for k, (which, field) in enumerate(zip(EXTREMES, fields, strict=True)):
            place = record["fields"].index(field)
            kept = {name: images[f"{name}/extremes"][place] for name in ("input", baseline)}
            kept |= {loop: images[f"{loop}/extremes"][k], "truth": images["truth/extremes"][place]}
            if which == "worst" or field != fields[0]:  # of a single field both are the same
                found.append(Shown(loop, baseline, which, field, kept))
    return found


def extremes_figure(shown: Sequence[Shown], table: pd.DataFrame, against: str = "truth") -> Figure:
    """A row per field: input, baseline, loop, truth, on the truth's greys but for the input, which has its own.

    table: of `field_gaps` of the pictures' seed and baseline, whose PSNR stands above them; against: what the last is
    called.
    """
    size_y, size_x = shown[0].pictures["truth"].shape
    figure = Figure(figsize=(INCHES * 4 + 1.9, (INCHES * size_y / size_x + 0.45) * len(shown)), layout="constrained")
    grid = figure.subplots(len(shown), 4, squeeze=False)
    for row, one in zip(grid, shown, strict=True):
        scores = table[(table["variant"] == one.variant) & (table["field"] == one.field)]
        db = {} if scores.empty else {one.variant: scores["psnr"].iloc[0], one.baseline: scores["of_baseline"].iloc[0]}
        for axes, (name, picture) in zip(row, one.pictures.items(), strict=True):
            low, high = grey_scale(picture if name == "input" else one.pictures["truth"])
            axes.imshow(picture, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
            heading = {"input": "input, its own greys", "truth": against}.get(name, title(name))
            axes.set_title(heading + (f", {db[name]:.1f} dB" if name in db else ""), fontsize=8.5)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        gap = f"\n{db[one.variant] - db[one.baseline]:+.1f} dB" if db else ""
        row[0].set_ylabel(
            f"{title(one.variant)},\n{one.which}: {one.field}{gap}",
            **{"fontsize": 9, "rotation": 0, "ha": "right", "va": "center", "color": colour(one.variant)},
        )
    return figure


def extremes_table(shown: Sequence[Shown], table: pd.DataFrame) -> pd.DataFrame:
    """The numbers of `extremes_figure`, whose table this takes: variant, which, and what that has of the field."""
    chosen = pd.DataFrame([(one.variant, one.which, one.field) for one in shown], columns=["variant", "which", "field"])
    return chosen.merge(table, on=["variant", "field"], how="left")


def _side(gap: float) -> str:
    return f"{abs(gap):.1f} dB {'above' if gap >= 0 else 'below'}"
