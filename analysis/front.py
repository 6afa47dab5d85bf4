"""The Pareto front of methods by two scores, both higher where better, and how sure a place on it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.crossed import interval
from analysis.gap import verdict


class Rivals(NamedTuple):
    """Who leaves a method's place on the front unsure: not shown to be worse than it in either score."""

    tied: list[str]  # in both, within the margins
    others: list[str]


def pareto(one: Sequence[float] | pd.Series, other: Sequence[float] | pd.Series) -> np.ndarray:
    """Which points no other point beats: as high in both and higher in one. Those with NaN are neither."""
    points = np.column_stack([np.asarray(one, float), np.asarray(other, float)])
    is_point: np.ndarray = ~np.any(np.isnan(points), axis=1)
    not_below = (points[None] >= points[:, None]).all(axis=2)
    above: np.ndarray = np.any(points[None] > points[:, None], axis=2)
    beaten: np.ndarray = np.any(not_below & above, axis=1)
    return is_point & ~beaten


def rivals(name: str, scores: Mapping[str, np.ndarray], margins: Sequence[float]) -> Rivals:
    """Of a method among others; their gaps are paired by seed and field, and judged as those of the gap table.

    scores: method → (2, S, F), all finite. margins: of a tie, in the unit of each score. With fewer than three seeds
    nothing is shown.
    """
    names = [other for other in scores if other != name]
    if not names:
        return Rivals([], [])
    gaps = np.stack([scores[other] - scores[name] for other in names])  # (C, 2, S, F)
    said = []
    for k, margin in enumerate(margins):
        found = interval(gaps[:, k])
        ends = zip(found.ci_low, found.ci_high, strict=True)
        said.append([verdict(low, high, np.nan, gaps.shape[2], margin) for low, high in ends])
    verdicts = dict(zip(names, zip(*said, strict=True), strict=True))
    tied = [other for other, both in verdicts.items() if set(both) == {"ties"}]
    return Rivals(tied, [other for other, both in verdicts.items() if other not in tied and "trails" not in both])
