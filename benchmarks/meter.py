"""What a benchmark reads of the driver's process whenever a trial has ended: CPU time by part, memory, the clock."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import optuna
import psutil

WARM_UP = 100  # trials, before the first hundred: imports, the first actors and MLflow's connection are not a trial's
HUNDRED = 100
PARTS = ("asking", "logging", "others")
BESIDE = ("delivering", "ray", "actors")  # other processes on this machine: shown, but not the driver's


@dataclass
class Meter:
    """Readings of this process, one per trial that ended."""

    is_meant: Callable[[optuna.Study], bool] = lambda study: True
    cpu_s: list[float] = field(default_factory=list)  # of all threads
    parts_s: list[dict[str, float]] = field(default_factory=list)  # by part, after every hundred
    memory_mib: list[float] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)

    def read(self) -> None:
        self.cpu_s.append(time.process_time())
        self.memory_mib.append(psutil.Process().memory_info().rss / 2**20)
        self.at_s.append(time.time())
        if len(self.at_s) % HUNDRED == 0:
            self.parts_s.append(_by_part())

    def on_every_end(self) -> None:
        """Read whenever an Optuna study that is meant is told of an end."""
        tell = optuna.Study.tell

        @functools.wraps(tell)
        def told(study: Any, *arguments: Any, **named: Any) -> Any:
            result = tell(study, *arguments, **named)
            if self.is_meant(study):
                self.read()
            return result

        optuna.Study.tell = told  # type: ignore[method-assign, assignment]

    def hundreds(self) -> list[dict[str, float]]:
        """Of every hundred after the warm-up: the last trial, CPU ms per trial, memory, trials per second."""
        result = []
        for end in range(WARM_UP + HUNDRED, len(self.cpu_s) + 1, HUNDRED):
            first, last = end - HUNDRED - 1, end - 1
            before, after = (self.parts_s[n // HUNDRED] for n in (first, last))
            result.append(
                {
                    "trial": end,
                    "cpu_ms": 1000 * (self.cpu_s[last] - self.cpu_s[first]) / HUNDRED,
                    **{f"{name}_ms": 1000 * (after[name] - before[name]) / HUNDRED for name in (*PARTS, *BESIDE)},
                    "memory_mib": self.memory_mib[last],
                    "per_s": HUNDRED / (self.at_s[last] - self.at_s[first]),
                }
            )
        return result


def _by_part() -> dict[str, float]:
    """CPU seconds so far of the thread that asks and tells, of MLflow's threads, of all others, and beside them."""
    named = {thread.native_id: thread.name.split("-")[0] for thread in threading.enumerate()}
    kinds = {"MainThread": "asking", "mlflow": "logging"}
    result = dict.fromkeys((*PARTS, *BESIDE), 0.0)
    for thread in psutil.Process().threads():
        result[kinds.get(named.get(thread.id, ""), "others")] += thread.user_time + thread.system_time
    for child in psutil.Process().children(recursive=True):
        try:
            words, spent = child.cmdline(), child.cpu_times()
        except psutil.NoSuchProcess:  # it ended in between
            continue
        result[_kind(words)] += spent.user + spent.system
    return result


def _kind(words: list[str]) -> str:
    """Which part the process of a command line belongs to."""
    if "studies.tracking.delivering" in words:
        return "delivering"
    return "actors" if words and words[0].startswith("ray::") else "ray"
