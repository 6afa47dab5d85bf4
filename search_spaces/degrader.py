"""Search space of the stage `degrader`."""

from __future__ import annotations

from typing import Any

from optuna import Trial

from search_spaces.ranges import Ranges, suggest

RANGES: dict[str, dict[str, Any]] = {
    # scientific
    "anchor": {"choices": ("none", "z_T", "z_t")},
    "shared": {"choices": (False, True)},
    "lambda_cyc": {"low": 0.1, "high": 30.0, "log": True},
    "lambda_cos": {"low": 0.03, "high": 10.0, "log": True},
    "cos_target": {"choices": ("paired", "input", "cycle")},
    "lambda_pair": {"choices": (0.0, 10.0)},
    "domain": {"choices": ("latents",)},  # pixels too, where `restorer_pixels` is an upstream, here and of the loop
    # nuisance
    "lr": {"low": 2e-4, "high": 4e-3, "log": True},
    "latent_noise": {"low": 0.0, "high": 0.2},
}
NUISANCE = ("lr", "latent_noise")
# fixed: widths, pool, averaging, patches, batches and length of training;
# set in the study's `config`, or searched where its `space` gives them a range


def space(trial: Trial, ranges: Ranges = RANGES) -> None:
    """Blind or anchored, per step or shared, the weights of Eq. 15's terms and of a term to the pair."""
    for name in ranges:
        suggest(trial, name, ranges)
