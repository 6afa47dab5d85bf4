"""The copies of what an object store holds, and of series that were sent to a cluster, on a machine's own disk."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from dehazing.pipeline.lease import Busy, holder, lease
from dehazing.pipeline.store import MANIFEST, Store
from dehazing.pipeline.writing import Unwritable

FOLDER, LIMIT = "DEHAZING_CACHE", "DEHAZING_CACHE_GB"  # of the environment
DEFAULT_GB = 20.0
USED = "USED"  # touched beside an entry's files whenever it is asked for
IN_USE_S = 600.0  # after it was asked for: whoever did may still be reading
EVERY_S = 60.0  # looks at all that is there cost time
LARGE = 0.01  # of the limit
FORGOTTEN_S = 24 * 3600.0  # what was begun here, untouched for so long, is gone on with elsewhere

_bounded: dict[Path, float] = {}  # root of a cache → when this process last looked at all of it


def cache_folder() -> Path:
    """$DEHAZING_CACHE, or a folder of ours below $XDG_CACHE_HOME or ~/.cache."""
    own = os.environ.get(FOLDER)
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "iterative-dehazing"


def limit_bytes() -> float:
    """How much the copies of one store may take, $DEHAZING_CACHE_GB or 20; Unwritable where that is no number."""
    text = os.environ.get(LIMIT) or str(DEFAULT_GB)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number >= 0:
        raise Unwritable(f"{LIMIT} must be a number of gigabytes from 0 on, but is {text!r}.")
    return number * 1e9


def used(cache: Store, address: str) -> None:
    """Notes that an entry is asked for; a disk that is full or may not be written is no reason to stop."""
    with suppress(OSError):
        (cache.root / "stages" / address / USED).touch()


def bound_after(cache: Store, address: str) -> None:
    """As `bound`, after an entry was added: at once where that is large, else now and then."""
    now_s = time.monotonic()
    is_large = _Entry(cache.root / "stages" / address, address).num_bytes > LARGE * limit_bytes()
    if is_large or now_s - _bounded.get(cache.root, -math.inf) > EVERY_S:
        _bounded[cache.root] = now_s
        bound(cache, keep=[address])


def bound(cache: Store, keep: Collection[str] = (), most_bytes: float | None = None) -> list[str]:
    """Drops the copies that were asked for longest ago until the rest fits; returns their addresses.

    cache: a store in a folder, of copies alone. Kept, though too much: `keep`, what was asked for in the last ten
    minutes, and what somebody is working on. Checkpoints that nobody has touched for a day go, too: they are in the
    store. Unwritable for a limit that is no number.
    """
    most, now_s = limit_bytes() if most_bytes is None else most_bytes, time.time()
    found = [_Entry(place, f"{place.parent.name}/{place.name}") for place in (cache.root / "stages").glob("*/*")]
    total, dropped = sum(entry.num_bytes for entry in found), []
    for entry in sorted(found, key=lambda entry: entry.used_s):
        silent_s = now_s - entry.used_s
        goes = silent_s > IN_USE_S if entry.is_whole else silent_s > FORGOTTEN_S
        if entry.address in keep or not goes or (entry.is_whole and total <= most):
            continue
        if _drop(cache, entry):
            total -= entry.num_bytes
            dropped.append(entry.address)
    return dropped


class _Entry:
    """What lies at an address: its bytes, when it was last asked for or worked on, whether it is published."""

    def __init__(self, place: Path, address: str) -> None:
        self.place, self.address = place, address
        self.num_bytes, self.used_s = 0, 0.0
        for path in place.rglob("*"):
            with suppress(OSError):  # gone meanwhile
                state = path.stat()
                if path.is_file():
                    self.num_bytes += state.st_size
                self.used_s = max(self.used_s, state.st_mtime)
        self.is_whole = (place / MANIFEST).is_file()


def _drop(cache: Store, entry: _Entry) -> bool:
    """Whether it is gone now; not where somebody works on it, or has asked for it meanwhile."""
    try:
        with lease(cache, entry.address, wait_s=0.0):
            return _dropped(cache, entry)
    except Busy:
        return False
    except Unwritable:  # a full disk takes no lease, and has most need
        return holder(cache, entry.address) is None and _dropped(cache, entry)


def _dropped(cache: Store, entry: _Entry) -> bool:
    mark = entry.place / USED
    if mark.is_file() and mark.stat().st_mtime > entry.used_s:
        return False
    cache.drop(entry.address)
    return True
