"""Search space of several stages at once: each one's own, under its role's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from optuna import Trial

from search_spaces.ranges import Ranges

Space = Callable[[Trial, Ranges], None]


class Prefixed:
    """A trial that puts a prefix before the name of everything it is asked for."""

    def __init__(self, trial: Trial, prefix: str) -> None:
        self.trial, self.prefix = trial, prefix

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        return self.trial.suggest_categorical(self.prefix + name, choices)

    def suggest_int(self, name: str, low: int, high: int, **options: Any) -> int:
        return self.trial.suggest_int(self.prefix + name, low, high, **options)

    def suggest_float(self, name: str, low: float, high: float, **options: Any) -> float:
        return self.trial.suggest_float(self.prefix + name, low, high, **options)


def space(trial: Trial, parts: Mapping[str, tuple[Space, Ranges]]) -> None:
    """Suggest each part's parameters under "<its name>/"; those of the part without a name as they are."""
    for name, (part, ranges) in parts.items():
        part(trial if not name else Prefixed(trial, f"{name}/"), ranges)  # type: ignore[arg-type]
