"""Who works in a results folder: drivers side by side, or `prune` by itself."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dehazing.pipeline.lease import Busy, holder, lease
from dehazing.pipeline.store import Store

FOLDER = "drivers"
PRUNING = f"{FOLDER}/prune"
FORGOTTEN_S = 3600.0  # a lease of another machine that was not touched for so long is nobody's, whatever the clocks
LOOK_EVERY_S = 0.5


@contextmanager
def driving(root: Path) -> Iterator[str]:
    """The address of a lease in the results folder, held while a driver works there: so other hosts know that it does.

    Waits while `prune` drops what nobody reaches: it must not be what this driver counts on. Unwritable.
    """
    store, address = Store(root), f"{FOLDER}/{uuid.uuid4().hex[:16]}"
    try:
        with lease(store, address):
            while is_worked_on(store, PRUNING):
                time.sleep(LOOK_EVERY_S)
            yield address
    finally:
        store.drop(address)


@contextmanager
def alone(roots: Iterable[Path]) -> Iterator[None]:
    """No driver works in these results folders while this is held. ValueError where one does, or another `prune`.

    A driver takes its lease before it looks for this one, and this looks for drivers once it is taken: one sees the
    other, whoever is first.
    """
    with ExitStack() as held:
        for root in roots:
            store = Store(root)
            try:
                held.enter_context(lease(store, PRUNING, wait_s=0.0))
            except Busy as error:
                raise ValueError(f"`prune` must be alone in {root}, but another one is at work there.") from error
            busy = [one for one in _drivers(root) if is_worked_on(store, one)]
            if busy:
                raise ValueError(f"`prune` must be alone in {root}, but {len(busy)} `run` is at work there.")
        yield


def is_worked_on(store: Store, address: str) -> bool:
    """Whether somebody holds its lease, and not one that was forgotten."""
    if holder(store, address) is None:
        return False
    claim = store.claims(address).look()
    return claim is not None and time.time() - claim.touched_ns / 1e9 < FORGOTTEN_S


def _drivers(root: Path) -> list[str]:
    folder = root / "stages" / FOLDER
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [f"{FOLDER}/{name}" for name in names if f"{FOLDER}/{name}" != PRUNING]
