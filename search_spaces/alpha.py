"""The alpha_t schedule: its kind, and only the chosen kind's parameters."""

from __future__ import annotations

from typing import Any

from optuna import Trial

from dehazing.schedules import PARAMETERS, SHAPES
from search_spaces.ranges import Ranges, suggest

RANGES: dict[str, dict[str, Any]] = {
    # scientific
    "kind": {"choices": tuple(SHAPES)},
    "steepness": {"low": 2.0, "high": 20.0, "log": True},
    "midpoint": {"low": 0.1, "high": 0.9},
    "exponent": {"low": 0.25, "high": 4.0, "log": True},
    "value": {"low": 0.05, "high": 0.95},
}


def space(trial: Trial, ranges: Ranges = RANGES, prefix: str = "") -> None:
    """Suggest `kind` and its parameters under `prefix`, e.g. "alpha/"."""
    kind = suggest(trial, f"{prefix}kind", ranges)
    for name in PARAMETERS[kind]:
        suggest(trial, f"{prefix}{name}", ranges)


def prefixed(prefix: str) -> dict[str, dict[str, Any]]:
    """The ranges as they stand in a space that holds a schedule under `prefix`."""
    return {f"{prefix}{name}": domain for name, domain in RANGES.items()}
