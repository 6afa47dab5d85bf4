"""Where the wall time goes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

PARTS = ("arithmetic", "loading", "store", "waiting")  # epochs · networks and images · checkpoints, publishing · lease


class Clock:
    """Seconds by part."""

    def __init__(self, parts: Iterable[str] = PARTS) -> None:
        self.seconds = dict.fromkeys(parts, 0.0)

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Counts the time in here as `part`."""
        begun_s = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] += time.perf_counter() - begun_s
