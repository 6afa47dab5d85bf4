"""What a study searches: every parameter, its range, and with which choices of others it appears at all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.samplers import RandomSampler

from studies.executions import ranges_of, space_of
from studies.study import Study

NUM_SAMPLES = 200  # of the space, from which the conditions are read


@dataclass(frozen=True)
class Parameter:
    """A parameter and its range; condition: (another parameter, those of its choices with which this one appears).

    kind: choice | whole | real. An empty condition: always there. condition None: not always, and no single choice
    decides.
    """

    name: str
    kind: str
    domain: Mapping[str, Any]
    condition: tuple[str, tuple[Any, ...]] | tuple[()] | None

    def record(self) -> dict[str, Any]:
        """As JSON has it: name, kind, low, high, log, step or choices, and `only_with` {parameter, choices}."""
        numbers = {key: value for key, value in self.domain.items() if key != "choices"}
        only_with: Any = None
        if self.condition is None:
            only_with = "sometimes"
        elif self.condition:
            only_with = {"parameter": self.condition[0], "choices": [*self.condition[1]]}
        choices = {"choices": [*self.domain["choices"]]} if "choices" in self.domain else {}
        return {"name": self.name, "kind": self.kind, **numbers, **choices, "only_with": only_with}

    @property
    def num_values(self) -> float:
        """How many values it can take; inf for a real range without steps."""
        if self.kind == "choice":
            return len(self.domain["choices"])
        if self.kind == "real" and "step" not in self.domain:
            return 1 if self.domain["low"] == self.domain["high"] else math.inf
        step = self.domain.get("step", 1)
        return int((self.domain["high"] - self.domain["low"]) / step + 1e-9) + 1

    def at_an_end(self, value: Any, share: float = 0.02) -> str:
        """ "low" or "high" where a value lies within `share` of the range from that end; else ""."""
        if self.kind == "choice" or self.num_values < 3:
            return ""
        low, high, at = (float(v) for v in (self.domain["low"], self.domain["high"], value))
        if self.domain.get("log"):
            low, high, at = math.log(low), math.log(high), math.log(at)
        place = (at - low) / (high - low)
        return "low" if place <= share else "high" if place >= 1 - share else ""


def parameters_of(study: Study, num_samples: int = NUM_SAMPLES) -> list[Parameter]:
    """The parameters that are asked for, in the order of the ranges; conditions are found by sampling the space."""
    space, sampling = space_of(study), optuna.create_study(sampler=RandomSampler(seed=0))
    samples = []
    for _ in range(num_samples):
        trial = sampling.ask()
        space(trial)
        samples.append(trial.params)
    ranges = ranges_of(study)
    asked = {name for params in samples for name in params}
    choices = [name for name in ranges if name in asked and "choices" in ranges[name]]
    return [
        Parameter(name, _kind(domain), domain, _condition(name, choices, samples))
        for name, domain in ranges.items()
        if name in asked
    ]


def _kind(domain: Mapping[str, Any]) -> str:
    if "choices" in domain:
        return "choice"
    return "whole" if isinstance(domain["low"], int) else "real"


def _condition(
    name: str, choices: Sequence[str], samples: Sequence[Mapping[str, Any]]
) -> tuple[str, tuple[Any, ...]] | tuple[()] | None:
    with_it = [params for params in samples if name in params]
    without = [params for params in samples if name not in params]
    if not without:
        return ()
    for other in choices:
        if other == name or any(other not in params for params in with_it):
            continue
        values = tuple(dict.fromkeys(params[other] for params in with_it))
        if all(params.get(other) not in values for params in without if other in params):
            return other, tuple(sorted(values, key=str))
    return None
