"""The report's section on where the gap sits: by place, by image, and between fidelity and sharpness."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis import figures
from analysis.blur import read_passband, upper_range
from analysis.by_field import (
    extremes_figure,
    extremes_table,
    field_figure,
    field_gaps,
    field_sentences,
    shown_extremes,
)
from analysis.pictures import Images
from analysis.place import PLACES, by_place, place_sentence
from analysis.plane import plane_sentences, plane_table
from analysis.plane_figure import plane_figure
from analysis.scores import at_the_end
from analysis.trajectories import Confirmation, read_records, read_refused
from analysis.variants import is_variant

ALT = {
    "gap_by_field": "Every test field's gap to the best baseline, sorted, a dot per field and a small mark per seed",
    "extreme_fields": "Fields on which a loop is worst and best: input, baseline, loop, and what it is scored against",
    "plane": "PSNR against coherent power in the upper half of the passband, scaled down to the truth's, "
    "a point per method, with the Pareto front of the means",
}


class Where(NamedTuple):
    """What the page shows."""

    of_places: list[str]  # sentences
    places: list[tuple[str, dict[str, Mapping[str, Any]]]]  # method → place → row of `by_place`
    places_missing: str  # why some field has no places
    baseline: str  # that the places' gaps are to
    pixels: float  # share of them that is structure
    of_fields: list[str]
    of_plane: list[str]
    plane: list[Mapping[str, Any]]  # rows of `plane_table`
    range: str  # the upper half of the passband, cycles/px
    drawn: dict[str, Path]


def where(
    root: Path | str,
    confirmation: Confirmation,
    trajectories: pd.DataFrame,
    images: Images,
    loops: tuple[str, str],
    folder: Path,
) -> Where:
    """Works it out, draws its figures into folder/figures, and writes place.csv into the report's folder.

    loops: the source's form and the one that ends highest, "" where there is none.
    """
    trajectories = at_the_end(trajectories)  # nothing here asks for more
    names = [name for name in dict.fromkeys(loops) if name]
    places = by_place(trajectories)
    if len(places):
        places.to_csv(folder / "place.csv", index=False)
    passband = read_passband(root, confirmation)
    plane = plane_table(trajectories, passband)
    gaps = field_gaps(trajectories, names)
    drawn = _drawn(root, confirmation, trajectories, gaps, images, folder / "figures")
    if np.isfinite(plane["sharpness_db"].astype(float)).any():
        drawn["plane"] = figures.write(plane_figure(plane, loops[0]), plane, folder / "figures", "plane")
    return Where(
        of_places=[said for said in (place_sentence(trajectories, name) for name in names) if said],
        places=_rows(places),
        places_missing=read_refused(root, confirmation).get("psnr_structure", ""),
        baseline=str(places["baseline"].iloc[0]) if len(places) else "",
        pixels=float(places["share_of_pixels"].iloc[0]) if len(places) else np.nan,
        of_fields=field_sentences(gaps),
        of_plane=plane_sentences(plane),
        plane=plane.to_dict("records"),  # type: ignore[arg-type]
        range=upper_range(passband),
        drawn=drawn,
    )


def _drawn(
    root: Path | str,
    confirmation: Confirmation,
    trajectories: pd.DataFrame,
    gaps: pd.DataFrame,
    images: Images,
    folder: Path,
) -> dict[str, Path]:
    """gaps: of `field_gaps`, of all seeds; the pictures have a seed and a baseline of their own."""
    drawn: dict[str, Path] = {}
    names = [*dict.fromkeys(gaps["variant"])]
    finite = np.isfinite(gaps["mean_gap"])
    if finite.any():
        drawn["gap_by_field"] = figures.write(field_figure(gaps[finite]), gaps, folder, "gap_by_field")
    first = int(next(iter(confirmation["iterative"])))  # the seed whose pictures `read_examples` has
    record = read_records(root, confirmation, "extremes").get(first, {})
    shown = shown_extremes(images, record, names)
    if shown:  # that seed's best baseline, to which its worst and best fields were picked, may be another
        of_seed = field_gaps(trajectories[trajectories["seed"] == first], names, record["baseline"])
        last = "acquired" if confirmation["score_against"] == "frame" else "truth"
        figure, table = extremes_figure(shown, of_seed, last), extremes_table(shown, of_seed)
        drawn["extreme_fields"] = figures.write(figure, table, folder, "extreme_fields")
    return drawn


def _rows(places: pd.DataFrame) -> list[tuple[str, dict[str, Mapping[str, Any]]]]:
    """The one-shot methods first, as the table has them, each place's row under its name."""
    by_method: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in places.to_dict("records"):
        by_method.setdefault(str(row["method"]), {})[str(row["place"])] = row  # type: ignore[assignment]
    assert all(set(of_method) == {*PLACES} for of_method in by_method.values())
    return sorted(by_method.items(), key=lambda one: is_variant(one[0]))
