"""At which level the loop of each row began: at T, or lower, as it would on somebody's less hazy image.

A loop from a lower level has a name of its own ("direct_from_3"), and it stands against the baselines at that level.
Whatever speaks of "the loops" without a level means those from T.
"""

from __future__ import annotations

import pandas as pd


def with_start(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of a trajectory or gap table with the column `start`, which those lack that are older than it.

    What takes one step is listed beside the loop from T, and so is its `start`.
    """
    return table if "start" in table.columns else table.assign(start=table["level"] + table["step"])


def from_T(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the loops that begin at T, and of all that takes one step."""
    table = with_start(table)
    return table[table["start"] == table["start"].max()].reset_index(drop=True)


def without_start(name: str, start: int) -> str:
    """The name of the loop as it is called where it begins at T."""
    return name.removesuffix(f"_from_{start}")
