"""Which MLflow run belongs to which key: a file beside the spool, so that a run is continued and never doubled.

The file is a cache. MLflow's tags, a run's key and the id of its results folder, are the truth: where the file is
missing, or MLflow is another one, the ledger is filled from the runs of the results folder that are there.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

try:
    import fcntl
except ImportError:  # Windows: one driver at a time
    fcntl = None  # type: ignore[assignment]


def folder_of(root: Path, experiment: str) -> Path:
    """Where an experiment's ledger and spool lie."""
    return root / experiment / "mlflow"


def place() -> str:
    """Which MLflow is meant: "" is the results folder's own database; a server's address goes without its password."""
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else address


class Ledger:
    """`runs.jsonl` of one experiment, appended to by every tracker of it; one MLflow's part of it."""

    def __init__(self, root: Path, experiment: str) -> None:
        self.folder, self.place = folder_of(root, experiment), place()
        self._path = self.folder / "runs.jsonl"
        self._ids: dict[str, str] = {}
        self._ended: dict[str, str] = {}  # key → status of what was closed, the last time
        self._begun: set[str] = set()  # keys, at whichever MLflow
        self._filled: set[str] = set()  # MLflow's ids of the experiments whose runs are all in here
        self._read = 0
        self._lock = threading.RLock()

    def run_id(self, key: str) -> str | None:
        """The run of a key, or None where none is known."""
        with self._lock:
            self._read_on()
            return self._ids.get(key)

    def status(self, key: str) -> str | None:
        """What a run was closed as, the last time; None where it never was."""
        with self._lock:
            self._read_on()
            return self._ended.get(key)

    def was_begun(self, key: str) -> bool:
        """Whether any MLflow has a run of the key, or had one."""
        with self._lock:
            self._read_on()
            return key in self._begun

    def is_filled(self, experiment_id: str) -> bool:
        """Whether a key of the results folder that is not in here has no run in the experiment."""
        with self._lock:
            self._read_on()
            return experiment_id in self._filled

    def add(self, runs: Mapping[str, str]) -> None:
        """Note runs, key → id."""
        self._append([{"key": key, "run_id": run_id} for key, run_id in runs.items()])

    def ended(self, runs: Mapping[str, str]) -> None:
        """Note what was closed, key → status."""
        if runs:
            self._append([{"key": key, "ended": status} for key, status in runs.items()])

    def filled(self, experiment_id: str) -> None:
        """Note that every run that the experiment has of the results folder is in here."""
        self._append([{"filled": experiment_id}])

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other trackers of this experiment from making the same run meanwhile."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as file:
            if fcntl is not None:
                with suppress(OSError):  # a file system without locks
                    fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _append(self, entries: list[dict[str, str]]) -> None:
        content = "".join(json.dumps({"place": self.place, **entry}) + "\n" for entry in entries).encode()
        with self._lock:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._read_on()
            with self._path.open("ab", buffering=0) as file:
                if file.tell() > self._read:  # after a line that was cut off
                    content = b"\n" + content
                file.write(content)
                os.fsync(file.fileno())
            self._read_on()

    def _read_on(self) -> None:
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            if file.seek(0, os.SEEK_END) < self._read:  # somebody emptied it
                self._read = 0
                self._ids.clear()
                self._ended.clear()
                self._begun.clear()
                self._filled.clear()
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                self._note(line)

    def _note(self, line: bytes) -> None:
        with suppress(ValueError):
            entry = json.loads(line)
            if "run_id" in entry:
                self._begun.add(entry["key"])
            if entry.get("place") == self.place and "ended" in entry:
                self._ended[entry["key"]] = entry["ended"]
            elif entry.get("place") == self.place and "key" in entry:
                self._ids[entry["key"]] = entry["run_id"]
            elif entry.get("place") == self.place and "filled" in entry:
                self._filled.add(entry["filled"])
