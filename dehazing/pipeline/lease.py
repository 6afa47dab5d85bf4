"""Who works on an address: a lease, so that what two processes ask for at once is made once.

A lease is a file `LEASE-<number>` beside the checkpoints. It is made with O_EXCL, so one process gets each
number, and the highest number holds. Its owner touches it every few seconds. A lease whose process is gone
from this host is taken over at once, any other after `stale_after_s` without a touch, measured on the clock
of whoever waits (clocks of hosts differ). The number only grows, so it fences: an owner that was taken for
dead and comes back finds a higher one and must not publish.
"""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from dehazing.pipeline.store import Store, writing

STALE_AFTER_S = 60.0
START_TOLERANCE_S = 2.0  # a process's start is derived from the boot time, which drifts with the clock


class LeaseLost(RuntimeError):
    """Somebody took the lease over; what was made under it must not be published."""


@dataclass(frozen=True)
class Owner:
    """A process: `started_s` tells it from a later one with the same number."""

    host: str
    pid: int
    started_s: float

    @classmethod
    def myself(cls) -> Owner:
        return cls(socket.gethostname(), os.getpid(), psutil.Process().create_time())

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
class Lease:
    """A lease that this process took; `number` fences."""

    path: Path
    number: int

    def check(self) -> None:
        """LeaseLost where somebody took the lease over."""
        numbers = _numbers(self.path.parent)
        if not numbers or numbers[-1] != self.number:
            raise LeaseLost(f"{self.path} must be the newest lease, but {numbers[-1:] or 'none'} is found.")


@contextmanager
def lease(store: Store, address: str, stale_after_s: float = STALE_AFTER_S, poll_s: float = 0.5) -> Iterator[Lease]:
    """Waits until nobody works on `address`, then holds its lease.

    Whoever waited finds the address published, as a rule: look again. ValueError where the folder cannot be
    written.
    """
    held = _acquire(store, address, stale_after_s, poll_s)
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(held, stop, stale_after_s / 6), daemon=True)
    beat.start()
    try:
        yield held
    finally:
        stop.set()
        beat.join()
        _release(store, address, held)


def holder(store: Store, address: str) -> Owner | None:
    """Who works on an address, or None; a dead process of this host does not count."""
    folder = store.lease_folder(address)
    numbers = _numbers(folder)
    owner = _owner(_path(folder, numbers[-1])) if numbers else None
    return None if owner is None or owner.is_gone() else owner


def _acquire(store: Store, address: str, stale_after_s: float, poll_s: float) -> Lease:
    folder = store.lease_folder(address)
    seen: tuple[int, int] | None = None  # number and time of the last touch
    since = time.monotonic()
    while True:
        numbers = _numbers(folder)
        highest = numbers[-1] if numbers else 0
        touched = (highest, _touched_ns(_path(folder, highest)))
        if touched != seen:
            seen, since = touched, time.monotonic()
        if not highest or _is_free(folder, highest) or time.monotonic() - since > stale_after_s:
            held = _take(folder, highest + 1)
            if held is not None:
                for path in (_path(folder, number) for number in numbers):
                    path.unlink(missing_ok=True)
                    _released(path).unlink(missing_ok=True)
                return held
        else:
            time.sleep(poll_s * random.uniform(0.8, 1.2))


def _take(folder: Path, number: int) -> Lease | None:
    """The lease with this number, or None where another process was faster."""
    path = _path(folder, number)
    with writing(folder):
        try:
            with path.open("x") as file:
                json.dump(asdict(Owner.myself()), file)
        except FileExistsError:
            return None
    return Lease(path, number)


def _is_free(folder: Path, number: int) -> bool:
    """Whether a lease was released, or its process is gone; one that is just being written is neither."""
    if _released(_path(folder, number)).exists():
        return True
    owner = _owner(_path(folder, number))
    return owner is not None and owner.is_gone()


def _owner(path: Path) -> Owner | None:
    try:
        return Owner(**json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError):
        return None  # released, or just being written


def _release(store: Store, address: str, held: Lease) -> None:
    """Keeps the number while there is something left to make, so that it goes on growing."""
    with writing(store.root):
        if store.has(address):
            held.path.unlink(missing_ok=True)
        elif held.path.exists():
            held.path.replace(_released(held.path))  # needs no space on a full disk


def _beat(held: Lease, stop: threading.Event, every_s: float) -> None:
    while not stop.wait(every_s):
        try:
            os.utime(held.path)
        except FileNotFoundError:
            return  # taken over: `check` says so
        except OSError:
            continue  # a file server that is away for a moment; where it stays away, others take over


def _path(folder: Path, number: int) -> Path:
    return folder / f"LEASE-{number:06d}"


def _released(path: Path) -> Path:
    return path.with_name(path.name + "-released")


def _numbers(folder: Path) -> list[int]:
    return sorted({int(path.name[6:12]) for path in folder.glob("LEASE-*")})


def _touched_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
