"""Search space of the stage `iterative`: one configuration of the loop."""

from __future__ import annotations

from typing import Any

from optuna import Trial

from dehazing.inference import COMBINATIONS, MATCHES, REFERENCES, REFINE_LEVELS, REFINEMENTS, VARIANTS
from search_spaces import alpha
from search_spaces.ranges import Ranges, suggest

RANGES: dict[str, dict[str, Any]] = {
    # scientific
    "variant": {"choices": tuple(VARIANTS)},
    "match": {"choices": MATCHES},
    **alpha.prefixed("alpha/"),
    "direction": {"choices": ("rising", "falling")},
    "reference": {"choices": REFERENCES},
    "num_refinements": {"low": 1, "high": 4},
    "refine_level": {"choices": REFINE_LEVELS},
    # nuisance: none, the networks are frozen
}
NUISANCE: tuple[str, ...] = ()
# fixed: the degrader and the domain, those of the study that this one builds on; the split, set by the study; the
# start, which is T in a search


def space(trial: Trial, ranges: Ranges = RANGES) -> None:
    """The variant, and only what it uses: a combination its alpha_t and reference, a refinement its number."""
    variant = suggest(trial, "variant", ranges)
    if variant != "stop":  # which sees z_T alone
        suggest(trial, "match", ranges)
    if variant in COMBINATIONS:
        alpha.space(trial, ranges, "alpha/")
        suggest(trial, "direction", ranges)
        suggest(trial, "reference", ranges)
    if variant in REFINEMENTS:
        suggest(trial, "num_refinements", ranges)
    if variant in ("refine_R", "refine_both"):
        suggest(trial, "refine_level", ranges)
