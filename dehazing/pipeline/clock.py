"""Where the wall time of an execution goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

PARTS = ("arithmetic", "loading", "store", "waiting")  # epochs · networks and images · checkpoints, publishing · lease


class Clock:
    """Seconds by part."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Counts the time in here as `part`."""
        begun_s = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] += time.perf_counter() - begun_s
