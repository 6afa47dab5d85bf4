"""Scores of a trajectory table as intervals take them: of every method's end, of every seed on every field."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.variants import BASELINES, are_variants


def at_the_end(trajectories: pd.DataFrame) -> pd.DataFrame:
    """The rows of every loop's last step, and of what takes one step those at T."""
    last = trajectories.groupby("variant")["step"].transform("max")
    return trajectories[trajectories["step"] == last.where(are_variants(trajectories["variant"]), 0)]


def best_baseline(ends: pd.DataFrame, metric: str = "psnr") -> str:
    """The baseline of the highest mean over fields and seeds at T, "" where there is none; ends: of `at_the_end`.

    Whatever is said against "the best baseline" means this one.
    """
    means = ends.groupby("variant")[metric].mean()
    return max((name for name in BASELINES if name in means), key=lambda name: means[name], default="")


def by_seed_and_field(rows: pd.DataFrame, index: Sequence[str], metric: str) -> pd.DataFrame:
    """A row per index, a column per (seed, field), seeds outermost; NaN only where a loop diverged.

    ValueError where a seed was not scored on every field.
    """
    num_expected = rows["seed"].nunique() * rows["field"].nunique()
    counts = rows.groupby([*index]).size()
    if (counts != num_expected).any():
        where, count = counts[counts != num_expected].index[0], counts[counts != num_expected].iloc[0]
        raise ValueError(
            f"Fields and seeds must be crossed: {num_expected} scores are needed, but {where} has {count}."
        )
    return rows.pivot(index=[*index], columns=["seed", "field"], values=metric).sort_index(axis=1)


def values_of(rows: pd.DataFrame, metric: str) -> np.ndarray:
    """Of one method's rows, (seeds, fields)."""
    table = by_seed_and_field(rows, ["variant"], metric)
    return table.to_numpy(float).reshape(num_seeds_and_fields(table))


def num_seeds_and_fields(table: pd.DataFrame) -> tuple[int, int]:
    """How many seeds and fields a table of `by_seed_and_field` has."""
    return len(table.columns.unique("seed")), len(table.columns.unique("field"))
