"""The lock of the studies' journal: the system lets it go with its process, so nobody waits for one that was killed."""

from __future__ import annotations

import fcntl
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


class JournalLock:
    """What Optuna's file backend takes as its lock; whoever holds it finds a journal that ends with a whole line.

    Optuna's own locks are files, which a killed process leaves behind: the next one would wait half a minute.
    """

    def __init__(self, journal: Path) -> None:
        self.journal, self.path = journal, journal.with_suffix(".lock")
        self._file: BinaryIO | None = None

    def acquire(self) -> bool:
        """Waits until no other process writes."""
        file = self.path.open("wb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                _cut(self.journal)
        except BaseException:
            file.close()
            raise
        self._file = file
        return True

    def release(self) -> None:
        """Lets the next one write."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _cut(journal: Path) -> None:
    """Drops the end of a line that a writer left, cut off by a full disk: no line could follow it."""
    with journal.open("rb+") as file:
        size = file.seek(0, 2)
        if not size:
            return
        file.seek(size - 1)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
