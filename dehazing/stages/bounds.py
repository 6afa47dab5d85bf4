"""What every stage's settings must satisfy, said in one sentence where they do not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any


def require(
    config: Any,
    positive: Iterable[str] = (),
    not_negative: Iterable[str] = (),
    shares: Iterable[str] = (),
    choices: Mapping[str, Iterable[str]] | None = None,
) -> None:
    """ValueError for the first setting that is out of bounds; shares lie in [0, 1] (an EMA's decay below 1)."""
    for name in positive:
        value = getattr(config, name)
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"`{name} > 0` must hold, but got {value}.")
    for name in not_negative:
        value = getattr(config, name)
        if not (value >= 0 and math.isfinite(value)):
            raise ValueError(f"`{name} >= 0` must hold, but got {value}.")
    for name in shares:
        value = getattr(config, name)
        if not 0 <= value <= 1:
            raise ValueError(f"`0 <= {name} <= 1` must hold, but got {value}.")
    for name, valid in (choices or {}).items():
        value = getattr(config, name)
        if value not in valid:
            raise ValueError(f"`{name}` must be one of {', '.join(valid)}, but got {value!r}.")


def require_rising(name: str, bounds: tuple[float, float]) -> None:
    """ValueError unless the lower of two finite bounds comes first."""
    low, high = bounds
    if not (low < high and math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"`{name}` must be two finite numbers, the lower one first, but got {list(bounds)}.")
