"""The files that a lease is made of, in a folder: `LEASE-<number>`, taken with O_EXCL, touched while it is held."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import psutil

from dehazing.pipeline.writing import writing

START_TOLERANCE_S = 2.0  # a process's start is derived from the boot time, which drifts with the clock


@dataclass(frozen=True)
class Owner:
    """A process: `started_s` tells it from a later one with the same number."""

    host: str
    pid: int
    started_s: float

    @classmethod
    def myself(cls) -> Owner:
        return cls(socket.gethostname(), os.getpid(), psutil.Process().create_time())

    @classmethod
    def named(cls, name: str) -> Owner | None:
        """Whose `name` this is, with a word after it ("NAME-WORD"); None where it is no such name."""
        try:
            host, pid, started_ms, _ = name.rsplit("-", 3)
            return cls(host, int(pid), int(started_ms) / 1000)
        except ValueError:
            return None

    @property
    def name(self) -> str:
        """As files are called that are this process's alone."""
        return f"{self.host}-{self.pid}-{int(self.started_s * 1000)}"

    def is_gone(self) -> bool:
        """Whether the process has certainly ended: only known on its own host."""
        if self.host != socket.gethostname():
            return False
        try:
            process = psutil.Process(self.pid)
            return (
                abs(process.create_time() - self.started_s) > START_TOLERANCE_S
                or process.status() == psutil.STATUS_ZOMBIE
            )
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False


@dataclass(frozen=True)
class Claim:
    """What holds an address; no owner: it is just being written.

    touched_ns: its last touch by the clock of where it lies, which moves on while its owner lives.
    """

    name: str
    number: int
    touched_ns: int
    owner: Owner | None
    released: bool = False


class Claims(Protocol):
    """The claims on one address. All but `look` may raise Unwritable.

    settle_s: how long after `take` it is certain whether a claim holds.
    """

    settle_s: float

    def look(self) -> Claim | None:
        """The claim that holds, with the highest number, or None. Writes nothing."""

    def take(self, number: int) -> str | None:
        """Claims a number; the name of the claim, or None where another process got it."""

    def holds(self, name: str) -> bool:
        """Whether a claim that was taken `settle_s` ago holds."""

    def withdraw(self, name: str) -> None:
        """Gives up a claim under which nothing was done."""

    def beat(self, name: str) -> None:
        """Touches a claim that is held, so that others see its owner alive. OSError where that fails."""

    def release(self, name: str) -> None:
        """Gives a claim back, and keeps its number, so that numbers go on growing."""

    def drop(self, name: str) -> None:
        """Removes a claim altogether."""

    def drop_before(self, number: int) -> None:
        """Removes the claims with lower numbers."""


class FolderClaims:
    """Claims in a folder, which need not be there yet."""

    settle_s = 0.0  # who makes the file holds

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def look(self) -> Claim | None:
        number = max((int(path.name[6:12]) for path in self.folder.glob("LEASE-*")), default=0)
        if not number:
            return None
        path = self._path(f"LEASE-{number:06d}")
        return Claim(path.name, number, _touched_ns(path), _owner(path), _released(path).exists())

    def take(self, number: int) -> str | None:
        path = self._path(f"LEASE-{number:06d}")
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                file = path.open("x")
            except FileExistsError:
                return None
            try:
                with file:
                    file.write(written(Owner.myself()))
            except OSError:  # a claim without an owner would be waited for
                path.unlink(missing_ok=True)
                raise
        return path.name

    def holds(self, name: str) -> bool:
        return True

    def withdraw(self, name: str) -> None:
        self.release(name)  # lower numbers may be gone already

    def beat(self, name: str) -> None:
        os.utime(self._path(name))

    def release(self, name: str) -> None:
        path = self._path(name)
        with writing(self.folder):
            if path.exists():
                path.replace(_released(path))  # needs no space on a full disk

    def drop(self, name: str) -> None:
        with writing(self.folder):
            self._path(name).unlink(missing_ok=True)

    def drop_before(self, number: int) -> None:
        with writing(self.folder):
            for path in self.folder.glob("LEASE-*"):
                if int(path.name[6:12]) < number:
                    path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.folder / name


def written(owner: Owner) -> str:
    """An owner as it stands in a claim."""
    return json.dumps(asdict(owner))


def read(content: bytes) -> Owner | None:
    """What `written` wrote, or None where it was cut off."""
    try:
        return Owner(**json.loads(content))
    except (ValueError, TypeError):
        return None


def _owner(path: Path) -> Owner | None:
    try:
        return read(path.read_bytes())
    except FileNotFoundError:
        return None  # released


def _released(path: Path) -> Path:
    return path.with_name(path.name + "-released")


def _touched_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
