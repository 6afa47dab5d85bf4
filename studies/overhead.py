"""How the wall time of a run divides: what its slots did, what the driver did beside it, and starting up."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from dehazing.pipeline.clock import PARTS
from dehazing.pipeline.writing import make_durable, writing

FILE = "overhead.json"  # of the experiment's folder, one entry per run that executed something


_imports_s: float | None = None


def imports_s() -> float:
    """Seconds from this process's start to the first call, which is when its imports are done; 0 from then on."""
    global _imports_s
    if _imports_s is None:
        _imports_s = max(0.0, time.time() - psutil.Process().create_time())
        return _imports_s
    return 0.0


class Overhead:
    """Seconds of one run, collected while it goes on.

    A slot is busy while it holds a piece of work: `arithmetic`, `loading`, `store` and `waiting` (for a lease) as the
    process itself says, `ray` the rest of it (starting the process, messages). Between pieces of work it is `idle`.
    Optuna and logging run on the driver beside the slots and are counted apart, as shares of the wall time.
    """

    def __init__(self) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.begun_s, self.begun = time.perf_counter() - imports_s(), f"{now} process {os.getpid()}"
        self.slots = 1
        self.startup_s = 0.0  # Ray
        self.running_s = 0.0  # while slots were to be kept busy
        self.optuna_s = 0.0
        self.busy_s = 0.0  # of all slots, divided by their number at the time, as are the parts
        self.parts_s = dict.fromkeys(PARTS, 0.0)
        self.num_executions = 0

    def started(self, seconds: float, slots: int) -> None:
        """Ray has started, or how many run side by side has changed."""
        self.startup_s += seconds
        self.slots = slots

    def worked(self, num_executions: int, spent: Mapping[str, float], busy_s: float) -> None:
        """A piece of work has ended."""
        self.num_executions += num_executions
        self.busy_s += busy_s / self.slots
        for part in PARTS:
            self.parts_s[part] += spent.get(part, 0.0) / self.slots

    def searched(self, seconds: float, optuna_s: float) -> None:
        """Slots were to be kept busy for so long."""
        self.running_s += seconds
        self.optuna_s += optuna_s

    def record(self, logging_s: float) -> dict[str, Any]:
        """Seconds of the wall time; those of the slots are divided by their number, so that the parts add up to it."""
        wall_s = time.perf_counter() - self.begun_s
        parts = dict(self.parts_s)
        parts["ray"] = max(0.0, self.busy_s - sum(parts.values()))
        parts["idle"] = max(0.0, self.running_s - self.busy_s)
        parts["start-up"] = self.startup_s
        parts["driver"] = max(0.0, wall_s - sum(parts.values()))
        return {
            "begun": self.begun,
            "wall_s": wall_s,
            "slots": self.slots,
            "executions": self.num_executions,
            "parts_s": parts,
            "beside_s": {"optuna": self.optuna_s, "logging": logging_s},
        }

    def write(self, folder: Path, logging_s: float) -> None:
        """Puts this run's entry into the experiment's folder, in the place of an earlier one of the same run."""
        if not self.num_executions:
            return
        path = folder / FILE
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with path.with_suffix(".lock").open("wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # another driver may write, too: neither loses the other's entry
                before = entries(path)
                runs = [run for run in before if run["begun"] != self.begun]
                aside = path.with_name(f"{path.stem}-{os.getpid()}.tmp")
                aside.write_text(json.dumps([*runs, self.record(logging_s)], indent=1))
                make_durable(aside)
                aside.replace(path)


def entries(path: Path) -> list[dict[str, Any]]:
    """What the runs noted; nothing where the file is missing or damaged: an account that is lost costs no result."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return []
    return found if isinstance(found, list) else []
