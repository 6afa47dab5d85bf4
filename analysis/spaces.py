"""What every study searched: its objective, the range of every hyperparameter, and which of them are nuisance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

# of experiments that were run before spaces.json was written
OBJECTIVES = {"hvae": "val/ceiling", "degrader": "val/psnr_direct", "iterative": "val/gap_db"}


class Space(NamedTuple):
    """Of one study. ranges: parameter → {low, high, log} or {choices}; those that were not kept are those seen."""

    metric: str  # the first objective
    maximise: bool
    ranges: Mapping[str, Mapping[str, Any]]
    nuisance: frozenset[str]
    is_recorded: bool  # else the ranges are no more than what the trials tried

    def role(self, parameter: str) -> str:
        """scientific | nuisance"""
        return "nuisance" if parameter in self.nuisance else "scientific"


def read_spaces(root: Path | str, experiment: str, trials: pd.DataFrame) -> dict[str, Space]:
    """Study → its space, from spaces.json of the experiment, or as the trials tell where it is not there."""
    path = Path(root) / experiment / "spaces.json"
    records: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    spaces = {}
    for study in trials["study"].unique():
        record = records.get(study)
        if record is None:
            metric = OBJECTIVES.get(str(study), "val/psnr")
            seen = _seen(trials[trials["study"] == study])
            spaces[str(study)] = Space(metric, True, seen, frozenset(), False)
        else:
            first = record["objective"][0]
            nuisance = frozenset(record["nuisance"])
            spaces[str(study)] = Space(first["metric"], first["mode"] == "max", record["ranges"], nuisance, True)
    return spaces


def searched(trials: pd.DataFrame, study: str, space: Space) -> tuple[pd.DataFrame, list[str]]:
    """A study's complete trials, and the parameters that at least two values were tried of.

    The trials as a table: number, objective (finite), and a column for each of the parameters, numbers as floats and
    choices as text, NaN or None where a trial had none.
    """
    column = f"metrics.{space.metric}"
    of_study = trials[(trials["study"] == study) & (trials["state"] == "COMPLETE")]
    if column not in of_study:
        return pd.DataFrame(columns=["number", "objective"]), []
    objective = of_study[column].astype(float).to_numpy()
    kept = of_study[np.isfinite(objective)]
    table = pd.DataFrame({"number": kept["number"].astype(int), "objective": objective[np.isfinite(objective)]})
    names = []
    for name, domain in space.ranges.items():
        if f"params.{name}" not in kept or kept[f"params.{name}"].nunique() < 2:
            continue
        values = kept[f"params.{name}"]
        table[name] = values.map(str, na_action="ignore") if "choices" in domain else values.astype(float)
        names.append(name)
    return table.reset_index(drop=True), names


def _seen(of_study: pd.DataFrame) -> dict[str, dict[str, Any]]:
    ranges: dict[str, dict[str, Any]] = {}
    for column in of_study:
        values = of_study[column].dropna()
        if not str(column).startswith("params.") or not len(values):
            continue
        name = str(column).removeprefix("params.")
        if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
            low, high = float(values.min()), float(values.max())
            whole = bool((values == values.round()).all())
            ranges[name] = {"low": int(low) if whole else low, "high": int(high) if whole else high}
            ranges[name]["log"] = low > 0 and high / low > 50 and not whole
        else:
            ranges[name] = {"choices": sorted(set(values.map(str)))}
    return ranges
