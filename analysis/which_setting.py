"""The report's section on settings: what moves each study's objective, one at a time, and the loop's own settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from analysis import figures
from analysis.importance import importance_figure, importance_sentences, importances
from analysis.isolation import FEW, boundary_warnings, isolation, isolation_figure
from analysis.loop_settings import alpha_figure, alpha_schedules, refinements, refinements_figure
from analysis.spaces import read_spaces

ALT = {
    "importance": "Importance of each hyperparameter for the objective of its study, by two methods",
    "alpha_schedules": "Schedules of alpha over the levels, those that were tried and those that were confirmed",
    "refinements": "Objective of the loop by the number of refinements, for each way to refine",
}


class Settings(NamedTuple):
    """What the page shows. drawn: name → picture; isolated: study → the name of its picture."""

    importance: list[str]
    warnings: list[str]
    isolated: dict[str, str]
    too_few: list[str]  # studies that are not isolated
    drawn: dict[str, Path]
    alt: dict[str, str]


def which_setting(
    root: Path | str, experiment: str, confirmation: Mapping[str, Any], trials: pd.DataFrame, folder: Path
) -> Settings:
    """Works it out, and writes importance.csv and isolation.csv and the figures into the report's folder."""
    spaces = read_spaces(root, experiment, trials)
    moved, alone = importances(trials, spaces), isolation(trials, spaces)
    moved.to_csv(folder / "importance.csv", index=False)
    alone.to_csv(folder / "isolation.csv", index=False)
    to, drawn, alt, isolated = folder / "figures", dict[str, Path](), dict(ALT), dict[str, str]()
    if moved["importance"].notna().any():
        drawn["importance"] = figures.write(importance_figure(moved), moved, to, "importance")
    complete = trials[trials["state"] == "COMPLETE"].groupby("study").size()
    for study in spaces:
        table = alone[alone["study"] == study]
        if len(table) and complete[study] >= FEW:
            name = f"isolation_{study}"
            drawn[name] = figures.write(isolation_figure(alone, trials, spaces, study), table, to, name)
            alt[name] = f"Best objective of {study} within bins of each scientific hyperparameter"
            isolated[study] = name
    schedules = alpha_schedules(confirmation, trials, spaces)
    if len(schedules):
        drawn["alpha_schedules"] = figures.write(alpha_figure(schedules), schedules, to, "alpha_schedules")
    refined = refinements(trials, spaces)
    refined = refined[refined["study"] == refined["study"].min()]  # one study's, where several search the loop
    if (refined["K"] > 0).any():
        drawn["refinements"] = figures.write(refinements_figure(refined), refined, to, "refinements")
    too_few = [f"{study} ({complete.get(study, 0)})" for study in spaces if study not in isolated]
    return Settings(importance_sentences(moved), boundary_warnings(trials, spaces), isolated, too_few, drawn, alt)
