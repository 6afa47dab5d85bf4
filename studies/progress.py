"""Live progress: one line that is rewritten on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

EVERY_S = 30.0  # between plain lines


class Progress:
    """Says which stage is at work, how many parts are done and running, the best value so far and the time left."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self._last_s, self._last_text, self._width = 0.0, "", 0

    def show(
        self, title: str, done: int, total: int, running: int, best: str = "", left_s: float | None = None
    ) -> None:
        """Rewrite the line; without a terminal only every half minute."""
        now = time.monotonic()
        if (self.live and now - self._last_s < 0.2) or (not self.live and now - self._last_s < EVERY_S):
            return
        self._last_s = now
        parts = [f"{title}: {done}/{total} done", f"{running} running"]
        if best:
            parts.append(f"best {best}")
        if left_s is not None:
            parts.append(f"about {duration(left_s)} left")
        self._write(" · ".join(parts))

    def say(self, text: str) -> None:
        """A line that stays."""
        if self.live and self._width:
            self.stream.write("\r" + " " * self._width + "\r")
            self._width = 0
        self.stream.write(text + "\n")
        self.stream.flush()
        self._last_s = time.monotonic()

    def _write(self, text: str) -> None:
        if not self.live:
            self.stream.write(text + "\n")
        else:
            text = text[: shutil.get_terminal_size().columns - 1]
            self.stream.write("\r" + text.ljust(self._width))
            self._width = len(text)
        self.stream.flush()


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def time_left(elapsed_s: float, done: float, total: float) -> float | None:
    """What is left if the rest goes as fast as what is done; None while nothing is known."""
    return elapsed_s * (total - done) / done if done > 0.02 * total else None
