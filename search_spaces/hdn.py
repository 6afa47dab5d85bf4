"""Search space of the stage `hdn`."""

from __future__ import annotations

from typing import Any

from optuna import Trial

from search_spaces.ladder import FIXED
from search_spaces.ranges import Ranges, suggest

__all__ = ["FIXED", "NUISANCE", "RANGES", "space"]

RANGES: dict[str, dict[str, Any]] = {
    # scientific
    "beta": {"low": 1e-3, "high": 0.2, "log": True},
    "share_at_T": {"low": 0.0, "high": 0.75},
    # nuisance
    "lr": {"low": 5e-4, "high": 8e-3, "log": True},
}
NUISANCE = ("lr",)
# fixed: what FIXED has, searched where a study names it; latent groups, width, samples, patches, batches and length of
# training, set in the study's `config`, or searched where its `space` gives them a range


def space(trial: Trial, ranges: Ranges = RANGES) -> None:
    """The weight of the KL terms, how much to train at the haziest level, and how."""
    for name in ranges:
        suggest(trial, name, ranges)
