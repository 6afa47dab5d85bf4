"""Two runs side by side: the settings that differ, their metrics, and the gap between them, paired by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from analysis.crossed import interval
from analysis.scores import at_the_end, values_of
from analysis.table import aligned
from analysis.variants import ordered, title

METRICS = ("psnr", "psnr_ri")


@dataclass(frozen=True)
class Run:
    """A trial, or a whole confirmed experiment.

    scores: a row per seed, variant, field and step, as `read_trajectories` gives it; empty where it has no such table.
    """

    name: str
    settings: Mapping[str, Any]
    metrics: Mapping[str, float] = field(default_factory=dict)
    scores: pd.DataFrame = field(default_factory=pd.DataFrame)


class Gap(NamedTuple):
    """The second run minus the first at the variant's last step, dB."""

    variant: str
    metric: str
    gap: float
    ci_low: float
    ci_high: float


def differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Name, value of both, of every setting that is not the same; None where a run does not have it."""
    one, other = flattened(first), flattened(second)
    return [
        (name, one.get(name), other.get(name))
        for name in sorted({*one, *other})
        if name not in one or name not in other or one[name] != other[name]
    ]


def flattened(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested settings under names joined by a stroke: {"alpha": {"kind": …}} is {"alpha/kind": …}."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= flattened(value, f"{above}{name}/") if isinstance(value, Mapping) else {f"{above}{name}": value}
    return flat


def paired_gaps(first: pd.DataFrame, second: pd.DataFrame) -> tuple[list[Gap], str]:
    """The gaps of the variants that both runs scored, paired by field and seed; or a sentence why there are none.

    A trial has one variant; two of different names are compared all the same. ValueError where a seed of either run was
    not scored on every field.
    """
    if not len(first) or not len(second):
        return [], "No gap can be paired: scores by field are those of the iterative stage."
    if set(first["field"]) != set(second["field"]):
        return [], "No gap can be paired, as the runs were scored on different fields."
    if set(first["seed"]) != set(second["seed"]):
        seeds = [", ".join(map(str, sorted(set(scores["seed"])))) for scores in (first, second)]
        return [], f"No gap can be paired, as the runs have different seeds: {seeds[0]}, and {seeds[1]}."
    pairs = _pairs(set(first["variant"]), set(second["variant"]))
    first, second = at_the_end(first), at_the_end(second)
    gaps = []
    for one, other in pairs:
        before, after = first[first["variant"] == one], second[second["variant"] == other]
        if set(before["seed"]) != set(after["seed"]):
            raise ValueError(
                f"Both runs must have scored {title(one)} and {title(other)} on the same seeds, but have "
                f"{sorted(set(before['seed']))} and {sorted(set(after['seed']))}."
            )
        name = title(one) if one == other else f"{title(one)} → {title(other)}"
        for metric in METRICS:
            found = interval((values_of(after, metric) - values_of(before, metric))[None])
            gaps.append(Gap(name, metric, *(float(part[0]) for part in found[:3])))
    return gaps, "" if gaps else "No gap can be paired, as the runs have no way to iterate in common."


def comparison_text(first: Run, second: Run) -> str:
    """What the terminal shows of two runs."""
    blocks = []
    rows = [(name, _text(one), _text(other)) for name, one, other in differing(first.settings, second.settings)]
    said = [("setting", first.name, second.name), *rows] if rows else [("All settings are the same.",)]
    blocks.append(aligned(said))
    names = [name for name in first.metrics if name in second.metrics]
    if names:
        of_metrics = [
            (name, f"{first.metrics[name]:.4g}", f"{second.metrics[name]:.4g}", f"{_change(first, second, name):+.4g}")
            for name in names
        ]
        blocks.append(aligned([("metric", first.name, second.name, "difference"), *of_metrics]))
    gaps, why_not = paired_gaps(first.scores, second.scores)
    if gaps:
        by_name: dict[str, dict[str, Gap]] = {}
        for gap in gaps:
            by_name.setdefault(gap.variant, {})[gap.metric] = gap
        lines = [(name, *(_interval(found[metric]) for metric in METRICS)) for name, found in by_name.items()]
        head = (f"{second.name} - {first.name}, paired by field", "PSNR, dB", "range-invariant, dB")
        blocks.append(aligned([head, *lines]))
    return "\n\n".join([*blocks, *([why_not] if why_not else [])])


def _pairs(first: set[str], second: set[str]) -> list[tuple[str, str]]:
    both = [(name, name) for name in ordered(first & second)]
    own = first - second, second - first
    return [*both, (*own[0], *own[1])] if len(own[0]) == len(own[1]) == 1 else both  # type: ignore[list-item]


def _change(first: Run, second: Run, name: str) -> float:
    return second.metrics[name] - first.metrics[name]


def _interval(gap: Gap) -> str:
    return f"{gap.gap:+.2f} [{gap.ci_low:+.2f}, {gap.ci_high:+.2f}]"


def _text(value: Any) -> str:
    return "—" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
