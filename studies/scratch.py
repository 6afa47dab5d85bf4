"""A store of its own in a temporary folder, in which what the real one holds can be built upon but not changed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dehazing.pipeline.store import Store


@contextmanager
def scratch_store(source: Store, addresses: Iterable[str] = ()) -> Iterator[Store]:
    """An empty store, gone afterwards, with published `addresses` of `source` linked into it.

    ValueError where the source has not published one of them, or where it is damaged.
    """
    with tempfile.TemporaryDirectory(prefix="studies-", ignore_cleanup_errors=True) as folder:
        scratch = Store(folder)
        for address in addresses:
            link(scratch, source, address)
        yield scratch


def link(scratch: Store, source: Store, address: str) -> None:
    """Lets a scratch store have an address of `source`; only what is published under it is ever read."""
    if scratch.has(address):
        return
    kind, name = address.split("/")
    place = Path(scratch.root) / "stages" / kind / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(source.folder(address), target_is_directory=True)
