"""The spool: what MLflow is to be told, on disk first, until it has been told.

A tracker appends records (plain JSON, one a line) to segments `spool-<writer>-<number>.jsonl` of its experiment's
folder; whoever delivers takes one segment after the other and removes it when all of it is delivered. The file
`writer-<writer>` says that a tracker is at work, or was until its process died: its segments are then taken over, by
renaming, by the next tracker of the experiment.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from dehazing.pipeline.lease import Owner

SEGMENT = 1000  # records of a segment at most, which is what is told again after a crash
STALE_AFTER_S = 600.0  # without a sign of life, a writer of another host counts as gone
AGAIN = "-again"  # marks a segment that was taken over

Record = dict[str, Any]


@dataclass(frozen=True)
class Segment:
    """A file of records that is whole; `taken_over`: some of it may have been delivered."""

    path: Path
    num: int
    taken_over: bool = False


_at_work: set[str] = set()  # writers of this process


class Spool:
    """The segments of one tracker, oldest first; one thread may append while another takes."""

    def __init__(self, folder: Path) -> None:
        """folder: of the experiment, made where it is missing; what dead writers left in it is taken over."""
        self.folder = folder
        self._writer = f"{Owner.myself().name}-{uuid.uuid4().hex[:8]}"
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        self._num_open = 0  # records in the segment that is being written
        self._number = 0
        self._segments: list[Segment] = []
        self._ready = False

    def prepare(self) -> None:
        """Make the folder and take over; OSError where it cannot be written, to be tried again."""
        with self._lock:
            if self._ready:
                return
            self.folder.mkdir(parents=True, exist_ok=True)
            _at_work.add(self._writer)
            self._sign.touch()
            for path in left_behind(self.folder):
                if path.name.startswith("writer-"):
                    path.unlink(missing_ok=True)
                    continue
                mine = self._next(AGAIN)
                with suppress(FileNotFoundError):  # another tracker was faster
                    path.rename(mine)
                    self._segments.append(Segment(mine, len(records_of(mine)), taken_over=True))
            self._ready = True

    @property
    def num_records(self) -> int:
        """How many records wait, those of dead writers included."""
        with self._lock:
            return self._num_open + sum(segment.num for segment in self._segments)

    @property
    def num_taken_over(self) -> int:
        """How many of them dead writers left."""
        with self._lock:
            return sum(segment.num for segment in self._segments if segment.taken_over)

    def append(self, lines: Sequence[bytes]) -> None:
        """Write records, made by `encoded`, durably, all or none; OSError where that fails."""
        self.prepare()
        content = b"".join(lines)
        with self._lock:
            if self._file is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._file = self._next("").open("ab", buffering=0)
            size = self._file.tell()
            try:
                left = memoryview(content)
                while left:  # a full disk takes a part first
                    left = left[self._file.write(left) :]
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(size)
                self._file.seek(size)
                raise
            self._num_open += len(lines)
            if self._num_open >= SEGMENT:
                self._finish()

    def oldest(self) -> Segment | None:
        """The oldest segment, what dead writers left first; None where nothing waits. OSError as of `prepare`."""
        self.prepare()
        with self._lock:
            if not self._segments and self._num_open:
                self._finish()
            return self._segments[0] if self._segments else None

    def delivered(self) -> None:
        """Drop the oldest segment; OSError where its file stays, and so does the segment."""
        with self._lock:
            self._segments[0].path.unlink(missing_ok=True)
            self._segments.pop(0)

    def touch(self) -> None:
        """A sign of life, for the other hosts."""
        with suppress(OSError):
            os.utime(self._sign)

    def close(self) -> None:
        """End writing; what was not delivered stays for the next tracker of the experiment."""
        with self._lock:
            if self._num_open:
                self._finish()
            _at_work.discard(self._writer)
            if not self._segments:
                self._sign.unlink(missing_ok=True)

    @property
    def _sign(self) -> Path:
        return self.folder / f"writer-{self._writer}"

    def _next(self, mark: str) -> Path:
        self._number += 1
        return self.folder / f"spool-{self._writer}-{self._number:08d}{mark}.jsonl"

    def _finish(self) -> None:
        assert self._file is not None
        self._segments.append(Segment(Path(os.fsdecode(self._file.name)), self._num_open))
        self._file.close()
        self._file, self._num_open = None, 0


def encoded(record: Record) -> bytes:
    """A record as a line; TypeError or ValueError for what JSON cannot hold."""
    return json.dumps(record, default=_plain).encode() + b"\n"


def records_of(path: Path) -> list[Record]:
    """The records of a segment but for lines that were cut off; none where another host took it over."""
    found: list[Record] = []
    with suppress(FileNotFoundError):
        for line in path.read_bytes().splitlines():
            with suppress(ValueError):
                found += [record for record in (json.loads(line),) if isinstance(record, dict)]
    return found


def left_behind(folder: Path) -> list[Path]:
    """What trackers that are gone left, in the order in which it was written: segments, then the signs of writers.

    Where there is something, an entry waits or a run may be open that nobody will close.
    """
    found = [*folder.glob("spool-*.jsonl"), *folder.glob("writer-*")]
    writers = {_writer(path) for path in found}
    now_s = _now_s(folder) if not all(_is_here(writer) for writer in writers) else 0.0
    began_s = {w: min(changed_s(p) for p in found if _writer(p) == w) for w in writers if _is_gone(folder, w, now_s)}
    gone = [path for path in found if _writer(path) in began_s]
    return sorted(gone, key=lambda p: (p.name.startswith("writer-"), began_s[_writer(p)], _writer(p), p.name))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return value.item() if hasattr(value, "item") else str(value)


def _writer(path: Path) -> str:
    words = path.name.removesuffix(".jsonl").removesuffix(AGAIN).split("-")[1:]
    return "-".join(words if path.name.startswith("writer-") else words[:-1])


def _is_here(writer: str) -> bool:
    owner = Owner.named(writer)
    return owner is not None and owner.host == socket.gethostname()


def _is_gone(folder: Path, writer: str, now_s: float) -> bool:
    if writer in _at_work:
        return False
    owner = Owner.named(writer)
    if owner is not None and _is_here(writer):
        return owner.is_gone() or owner.pid == os.getpid()  # a tracker of this process that was closed
    return now_s - changed_s(folder / f"writer-{writer}") > STALE_AFTER_S


def _now_s(folder: Path) -> float:
    """The time on the clock of whoever keeps the folder: clocks of hosts differ."""
    probe = folder / f"clock-{uuid.uuid4().hex[:8]}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def changed_s(path: Path) -> float:
    """When a file was written last, 0 where somebody has removed it meanwhile."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
