"""Search space of the stage `unet`."""

from __future__ import annotations

from typing import Any

from optuna import Trial

from search_spaces.ranges import Ranges, suggest

RANGES: dict[str, dict[str, Any]] = {
    # scientific
    "share_at_T": {"low": 0.0, "high": 0.75},
    # nuisance
    "lr": {"low": 5e-4, "high": 8e-3, "log": True},
    "weight_decay": {"low": 1e-6, "high": 1e-2, "log": True},
}
NUISANCE = ("lr", "weight_decay")
# fixed: width and depth, averaging, patches, batches, length of training and target;
# set in the study's `config`, or searched where its `space` gives them a range


def space(trial: Trial, ranges: Ranges = RANGES) -> None:
    """How much to train at the haziest level, and how."""
    for name in ranges:
        suggest(trial, name, ranges)
