"""What else is measured at the end of the loop, beside PSNR: means of every method, and why some are not there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.scores import at_the_end
from analysis.variants import degrader, in_reading_order, is_variant

NUM_BANDS = 4
BAND_EDGES = tuple(band / (2 * NUM_BANDS) for band in range(NUM_BANDS + 1))  # cycles/px; the corners are in the last
BAND_NAMES = tuple(f"{band + 1}: {BAND_EDGES[band]:g}–{BAND_EDGES[band + 1]:g}" for band in range(NUM_BANDS))
NOT_FINITE = "Not every prediction of it is finite: the loop diverged."
NOT_MEASURED = "It was not measured on these fields."
COLUMNS = ("method", "measure", "unit", "better", "mean", "seed_low", "seed_high", "num_fields", "note")


class Measure(NamedTuple):
    """A column of the evaluation table as the page shows it."""

    column: str
    group: str  # the heading that it stands under
    title: str
    unit: str
    better: str  # ↑ higher, ↓ lower, → nearer to a number
    decimals: int = 2


def _of_bands(column: str, group: str, unit: str, better: str) -> Iterator[Measure]:
    for band in range(NUM_BANDS):
        yield Measure(f"{column}_{band}", group, str(band + 1), unit, better)


STRUCTURE = "structural similarity"
MEASURES = (
    Measure("ssim", STRUCTURE, "SSIM", "of 1", "↑", 3),
    Measure("ms_ssim", STRUCTURE, "MS-", "of 1", "↑", 3),
    Measure("micro_ms3im", STRUCTURE, "Micro", "of 1", "↑", 3),
    *_of_bands("band", "error in band", "ratio of energies", "↓"),
    *_of_bands("power", "power in band", "ratio", "→ 1"),
    *_of_bands("coherence", "coherence in band", "of 1", "↑"),
    Measure("frc_px", "detail", "FRC", "1/px", "↑", 3),
    Measure("background", "residue", "dark", "%", "→ 0", 1),
    Measure("line_f1", "lines", "F1", "of 1", "↑", 3),
)


class Cell(NamedTuple):
    """A mean as text, "–" where there is none, and the mark of the note that says why."""

    text: str
    mark: str = ""


class MeasuresTable(NamedTuple):
    """What the page lays out: columns by heading, methods in sections by degrader (that of one-shot ones is "")."""

    headings: list[tuple[Measure, int]]  # the first measure under each heading, and how many stand there
    columns: list[tuple[Measure, str]]  # with the mark of a note on the whole column
    sections: list[tuple[str, list[tuple[str, list[Cell]]]]]
    notes: dict[str, str]  # mark → sentence


def measures(trajectories: pd.DataFrame, refused: Mapping[str, str]) -> pd.DataFrame:
    """One row per method and measure, COLUMNS: means over fields and seeds, at T or at the last step of a loop.

    refused: column → why its metric does not apply to some field. A field that no method has a value of is left out of
    its measure; `note` says so, and why a mean is NaN. seed_low and seed_high are the means of the lowest and the
    highest seed. frc_px is turned into the frequency, 0 where nothing agrees; the background into percent.
    """
    ends = at_the_end(trajectories)
    num_fields = ends["field"].nunique()
    methods = in_reading_order(ends["variant"].unique())
    rows = []
    for measure in MEASURES:
        if measure.column not in ends:
            continue
        values = _shown(measure.column, ends[measure.column])
        table = ends[["variant", "seed", "field"]].assign(value=values.where(np.isfinite(values)))
        has_any = table.groupby("field")["value"].transform("count") > 0
        left = table[has_any]
        num_left = left["field"].nunique()
        why = "" if num_left == num_fields else refused.get(measure.column, NOT_MEASURED)
        if why and num_left:
            why = f"Of {num_left} of {num_fields} fields. {why}"
        for method in methods:
            of_method = left[left["variant"] == method]
            is_whole = bool(len(of_method)) and bool(of_method["value"].notna().all())
            seeds = of_method.groupby("seed")["value"].mean()
            found = (of_method["value"].mean(), seeds.min(), seeds.max()) if is_whole else (math.nan,) * 3
            note = why if is_whole or not num_left else NOT_FINITE
            rows.append((method, measure.column, measure.unit, measure.better, *found, num_left, note))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def laid_out(table: pd.DataFrame) -> MeasuresTable | None:
    """The table of `measures` as the page shows it; None where nothing was measured."""
    if not len(table):
        return None
    shown = [measure for measure in MEASURES if measure.column in set(table["measure"])]
    notes: dict[str, str] = {}  # sentence → mark

    def mark(sentence: str) -> str:
        return notes.setdefault(sentence, chr(ord("a") + len(notes))) if sentence else ""

    cells: dict[str, list[Cell]] = {str(name): [] for name in dict.fromkeys(table["method"])}
    columns = []
    for measure in shown:
        rows = table[table["measure"] == measure.column]
        partial = [note for note, mean in zip(rows["note"], rows["mean"], strict=True) if note and math.isfinite(mean)]
        columns.append((measure, mark(partial[0]) if partial else ""))
        for method, mean, note in zip(rows["method"], rows["mean"], rows["note"], strict=True):
            is_there = math.isfinite(mean)
            cells[method].append(Cell(_number(mean, measure.decimals)) if is_there else Cell("–", mark(note)))
    headings = [(members[0], len(members)) for members in _by_group(shown)]
    sections = [(of, [(name, cells[name]) for name in names]) for of, names in groupby(cells, _section)]
    return MeasuresTable(headings, columns, sections, {letter: sentence for sentence, letter in notes.items()})


def _shown(column: str, values: pd.Series) -> pd.Series:
    """In the unit that the page has."""
    if column == "frc_px":
        return 1 / values
    return 100 * values if column == "background" else values


def _number(value: float, decimals: int) -> str:
    """Short where a loop that diverged makes it long: 0.26, 37, 5e3."""
    if abs(value) < 10:
        return f"{value:z.{decimals}f}"
    return f"{value:.0f}" if abs(value) < 999.5 else f"{value:.0e}".replace("e+0", "e")


def _by_group(shown: Sequence[Measure]) -> Iterator[list[Measure]]:
    return (list(members) for _, members in groupby(shown, lambda measure: measure.group))


def _section(method: str) -> str:
    return degrader(method) if is_variant(method) else ""
