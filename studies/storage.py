"""Which store holds the stages of a results folder: the folder itself, or the object store that it names."""

from __future__ import annotations

from pathlib import Path

from dehazing.pipeline.store import POINTER, Store, open_store


def store_of(root: Path, url: str | None) -> Store:
    """The store of a results folder; `url` names the object store of a new one. ValueError where it has another."""
    found = open_store(root)
    if url is None:
        return found
    if "://" not in url:
        raise ValueError(f"--store must be the URL of an object store such as s3://bucket/folder, but is {url!r}.")
    if found.place != str(root) and found.place != url:
        raise ValueError(f"The stages of {root} are in {found.place}, so --store must be that, but is {url}.")
    if found.place == str(root) and (root / "stages").exists():
        raise ValueError(f"The stages of {root} are in the folder itself: another --storage goes with --store {url}.")
    return open_store(url)


def note_store(root: Path, store: Store) -> None:
    """Notes in a results folder where its stages are, so that every later command finds them."""
    if store.place != str(root):
        (root / POINTER).write_text(store.place + "\n")
