"""Who works on an address: a lease, so that what two processes ask for at once is made once.

A lease is a numbered claim beside the checkpoints; one process gets each number, and the highest number holds
(`claims` in a folder, `object_claims` in an object store, which promises a little less). Its owner touches it
every few seconds. A lease whose process is gone from this host is taken over at once, any other after
`stale_after_s` without a touch, measured on the clock of whoever waits (clocks of hosts differ). The number only
grows, so it fences: an owner that was taken for dead and comes back finds a higher one and must not publish.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dehazing.pipeline.claims import Claim, Claims
from dehazing.pipeline.claims import Owner as Owner
from dehazing.pipeline.store import Store
from dehazing.pipeline.writing import Unwritable

STALE_AFTER_S = 60.0

# What this process saw last of a lease, and since when (monotonic): how it tells a silent owner.
_seen: dict[tuple[str, str], tuple[tuple[str, int] | None, float]] = {}


class LeaseLost(RuntimeError):
    """Somebody took the lease over; what was made under it must not be published."""


@dataclass(frozen=True)
class Lease:
    """A lease that this process took; `number` fences."""

    claims: Claims
    name: str
    number: int

    def check(self) -> None:
        """LeaseLost where somebody took the lease over."""
        newest = self.claims.look()
        if newest is None or newest.name != self.name or newest.released:
            raise LeaseLost(f"{self.name} must be the newest lease, but {newest.name if newest else 'none'} is found.")


@contextmanager
def lease(store: Store, address: str, stale_after_s: float = STALE_AFTER_S, poll_s: float = 0.5) -> Iterator[Lease]:
    """Waits until nobody works on `address`, then holds its lease.

    Whoever waited finds the address published, as a rule: look again. Unwritable where the store cannot be
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
        if store.has(address):
            held.claims.drop(held.name)
        else:  # the number is kept while there is something left to make
            held.claims.release(held.name)


def holder(store: Store, address: str, stale_after_s: float = STALE_AFTER_S) -> Owner | None:
    """Who works on an address, or None; writes nothing.

    A dead process of this host does not count, nor one that this process has seen silent for `stale_after_s`.
    """
    claim = store.claims(address).look()
    if claim is None or _is_free(claim) or _silent_s(store, address, claim) > stale_after_s:
        return None
    return claim.owner


def _acquire(store: Store, address: str, stale_after_s: float, poll_s: float) -> Lease:
    claims = store.claims(address)
    while True:
        claim = claims.look()
        if claim is None or _is_free(claim) or _silent_s(store, address, claim) > stale_after_s:
            number = 1 if claim is None else claim.number + 1
            name = claims.take(number)
            if name is not None:
                claims.drop_before(number)
                _seen.pop((store.place, address), None)
                return Lease(claims, name, number)
        else:
            time.sleep(poll_s * random.uniform(0.8, 1.2))


def _is_free(claim: Claim) -> bool:
    """Whether a lease was released, or its process is gone; one that is just being written is neither."""
    return claim.released or (claim.owner is not None and claim.owner.is_gone())


def _silent_s(store: Store, address: str, claim: Claim) -> float:
    """Seconds for which this process has seen a lease untouched."""
    key, now = (store.place, address), time.monotonic()
    touched, since = _seen.get(key, (None, now))
    if touched != (claim.name, claim.touched_ns):
        since = now
        _seen[key] = ((claim.name, claim.touched_ns), now)
    return now - since


def _beat(held: Lease, stop: threading.Event, every_s: float) -> None:
    while not stop.wait(every_s):
        try:
            held.claims.beat(held.name)
        except FileNotFoundError:
            return  # taken over: `check` says so
        except (OSError, Unwritable):
            continue  # a file server that is away for a moment; where it stays away, others take over
