"""How long a list of pieces of work takes on so many slots that are never idle."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def steady(executions: Sequence[Mapping[str, Any]], slots: int, ended_s: float) -> tuple[float, float, float]:
    """Since when every slot has had work, the wall time from there to `ended_s`, and the ideal one.

    executions: each with `pid`, `begun` (the clock) and `nominal_s`. Actors that are still starting are start-up. What
    is under way when the last of them begins counts with what is left of it by its nominal duration.
    """
    first: dict[int, float] = {}
    for one in sorted(executions, key=lambda one: one["begun"]):
        first.setdefault(one["pid"], one["begun"])
    since_s = sorted(first.values())[:slots][-1]  # one that takes the place of a lost one comes later
    left = [(one["begun"], one["begun"] + one["nominal_s"] - max(one["begun"], since_s)) for one in executions]
    seconds = [max(0.0, left_s) for _, left_s in sorted(left)]
    return since_s, ended_s - since_s, list_scheduled(seconds, slots)


def list_scheduled(seconds: Iterable[float], slots: int) -> float:
    """The end of the last, where each begins in order as soon as a slot is free."""
    free = [0.0] * slots
    for one in seconds:
        heapq.heapreplace(free, free[0] + one)
    return max(free)
