"""Who works on an address: a lease, so that what two processes ask for at once is made once.

A lease is a numbered claim beside the checkpoints; one process gets each number, and the highest number holds
(`claims` in a folder, `object_claims` in an object store, which promises a little less). Its owner touches it
every few seconds. A lease whose process is gone from this host is taken over at once, any other after
`stale_after_s` without a touch, measured on the clock of whoever waits (clocks of hosts differ). The number only
grows, so it fences: an owner that was taken for dead and comes back finds a higher one and must not publish.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from dehazing.pipeline.claims import Claim, Claims
from dehazing.pipeline.claims import Owner as Owner
from dehazing.pipeline.store import Store
from dehazing.pipeline.writing import Unwritable

STALE_AFTER_S = 60.0
UNKNOWN = Owner("an unknown host", 0, 0.0)  # of a lease that was cut off as it was written

# What this process saw last of a lease, and since when (monotonic): how it tells a silent owner.
_seen: dict[tuple[str, str], tuple[tuple[str, int] | None, float]] = {}


class LeaseLost(RuntimeError):
    """Somebody took the lease over; what was made under it must not be published."""


class Busy(RuntimeError):
    """Somebody else works on it, and whoever asked does not want to wait that long."""


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
def lease(
    store: Store,
    address: str,
    stale_after_s: float = STALE_AFTER_S,
    poll_s: float = 0.5,
    wait_s: float = math.inf,
) -> Iterator[Lease]:
    """Waits until nobody works on `address`, then holds its lease.

    Whoever waited finds the address published, as a rule: look again. Busy where somebody else is still at it after
    `wait_s`. Unwritable where the store cannot be written.
    """
    with leases(store, [address], stale_after_s, poll_s, wait_s) as held:
        yield held[address]


@contextmanager
def leases(
    store: Store,
    addresses: Iterable[str],
    stale_after_s: float = STALE_AFTER_S,
    poll_s: float = 0.5,
    wait_s: float = math.inf,
) -> Iterator[dict[str, Lease]]:
    """As `lease`, of several addresses; in one order everywhere, so that two never wait for each other."""
    held: dict[str, Lease] = {}
    begun_s = time.monotonic()
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(held, stop, stale_after_s / 6), daemon=True)
    beat.start()
    try:
        waiting = sorted(set(addresses))
        while waiting:
            got = _acquire(store, waiting, stale_after_s)
            held |= got
            waiting = waiting[len(got) :]
            if waiting and not got:
                if time.monotonic() - begun_s >= wait_s:
                    raise Busy(f"{waiting[0]} is being made by {holder(store, waiting[0], stale_after_s)}.")
                time.sleep(poll_s * random.uniform(0.8, 1.2))
        yield held
    finally:
        stop.set()
        beat.join()
        for address, one in held.items():
            if store.has(address):
                one.claims.drop(one.name)
            else:  # the number is kept while there is something left to make
                one.claims.release(one.name)


def holder(store: Store, address: str, stale_after_s: float = STALE_AFTER_S) -> Owner | None:
    """Who works on an address, or None; writes nothing.

    A dead process of this host does not count, nor one that this process has seen silent for `stale_after_s`.
    """
    claim = store.claims(address).look()
    if claim is None or _is_free(claim) or _silent_s(store, address, claim) > stale_after_s:
        return None
    return claim.owner or UNKNOWN


def watched(store: Store, address: str) -> list | None:
    """What this process has seen of a lease that nobody touches, or None: for `go_on_watching` in another one."""
    if (store.place, address) not in _seen:
        return None
    touched, since = _seen[store.place, address]
    return None if touched is None else [*touched, time.monotonic() - since]


def go_on_watching(store: Store, address: str, seen: Sequence) -> None:
    """Count the silence that another process has watched, so that it need not be waited for once more."""
    name, touched_ns, silent_s = seen
    _seen[store.place, address] = ((name, touched_ns), time.monotonic() - silent_s)


def _acquire(store: Store, addresses: Sequence[str], stale_after_s: float) -> dict[str, Lease]:
    """The leases of the first addresses, up to the first that somebody else works on.

    All are claimed before any is waited for, as a claim may need some time to settle.
    """
    claimed: dict[str, Lease] = {}
    got: dict[str, Lease] = {}
    try:
        for address in addresses:
            claims = store.claims(address)
            claim = claims.look()
            if not (claim is None or _is_free(claim) or _silent_s(store, address, claim) > stale_after_s):
                break
            number = 1 if claim is None else claim.number + 1
            name = claims.take(number)
            if name is None:
                break
            claimed[address] = Lease(claims, name, number)
        time.sleep(max((one.claims.settle_s for one in claimed.values()), default=0.0))
        for address, one in claimed.items():
            if not one.claims.holds(one.name):
                break
            one.claims.drop_before(one.number)
            _seen.pop((store.place, address), None)
            got[address] = one
    except BaseException:
        got = {}
        raise
    finally:
        for address, one in claimed.items():
            if address not in got:
                one.claims.withdraw(one.name)
    return got


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


def _beat(held: dict[str, Lease], stop: threading.Event, every_s: float) -> None:
    while not stop.wait(every_s):
        for one in list(held.values()):
            try:
                one.claims.beat(one.name)
            except FileNotFoundError:
                continue  # taken over: `check` says so
            except (OSError, Unwritable):
                continue  # a file server that is away for a moment; where it stays away, others take over
