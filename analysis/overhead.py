"""How the wall time of an experiment's runs divided, as the engine counted it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

FILE = "overhead.json"
PARTS = {
    "arithmetic": "stage arithmetic",
    "idle": "slots that had nothing to do",
    "waiting": "waiting for what another process makes",
    "loading": "reading images and networks",
    "store": "checkpoints and publishing",
    "ray": "Ray: starting processes, messages, turns",
    "start-up": "starting Ray",
    "driver": "the driver by itself: imports, data, tables, report",
}
BESIDE = {"optuna": "Optuna", "logging": "logging to MLflow, as the driver feels it"}


class Part(NamedTuple):
    """One line: seconds of wall time, and their share of it."""

    title: str
    seconds: float
    share: float


class Account(NamedTuple):
    """All runs together: the parts add up to the wall time; what runs beside the slots is not among them."""

    num_runs: int
    num_executions: int
    wall_s: float
    parts: list[Part]
    beside: list[Part]


def account(root: Path | str, experiment: str) -> Account | None:
    """What the runs of an experiment noted; None where none executed anything."""
    path = Path(root) / experiment / FILE
    try:
        runs: list[dict[str, Any]] = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):  # damaged: an account that is lost costs no report
        return None
    if not runs:
        return None
    wall_s = sum(run["wall_s"] for run in runs)

    def summed(key: str, titles: dict[str, str]) -> list[Part]:
        seconds = {name: sum(run[key].get(name, 0.0) for run in runs) for name in titles}
        return [Part(title, seconds[name], seconds[name] / wall_s) for name, title in titles.items()]

    num_executions = sum(run["executions"] for run in runs)
    return Account(len(runs), num_executions, wall_s, summed("parts_s", PARTS), summed("beside_s", BESIDE))
