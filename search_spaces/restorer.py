"""Search space of the stage `restorer`."""

from __future__ import annotations

from typing import Any

from optuna import Trial

from search_spaces.ranges import Ranges, suggest

RANGES: dict[str, dict[str, Any]] = {
    # scientific
    "share_at_T": {"low": 0.0, "high": 0.75},
    "lambda_decoder": {"choices": (0.0, 1.0)},
    # nuisance
    "lr": {"low": 5e-4, "high": 8e-3, "log": True},
    "latent_noise": {"low": 0.0, "high": 0.2},
}
NUISANCE = ("lr", "latent_noise")
# fixed: width, patches, batches, length of training and target;
# set in the study's `config`, or searched where its `space` gives them a range


def space(trial: Trial, ranges: Ranges = RANGES) -> None:
    """How much to train at the haziest level, whether to look through the decoder, and how to train."""
    for name in ranges:
        suggest(trial, name, ranges)
