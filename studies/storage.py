"""Which store holds the stages of a results folder: the folder itself, or the object store that it names."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dehazing.pipeline.store import POINTER, Store, open_store
from dehazing.pipeline.writing import make_durable
from studies.tracking.identity import recorded_id, results_id

USERS = "roots"  # folder of an object store: a small object for each results folder whose stages it holds


@dataclass(frozen=True)
class User:
    """A results folder whose stages an object store holds; `host` is where it was last used."""

    id: str
    path: str
    host: str


def store_of(root: Path, url: str | None) -> Store:
    """The store of a results folder; `url` names the object store of a new one. ValueError where it has another."""
    found = open_store(root)
    if url is None:
        return found
    if "://" not in url:
        raise ValueError(f"--store must be the URL of an object store such as s3://bucket/folder, but is {url!r}.")
    if found.place not in (str(root), url):
        named = open_store(url).name
        named += " with other credentials or options" if named == found.name else ""
        raise ValueError(f"The stages of {root} are in {found.name}, so --store must be that, but is {named}.")
    opened = open_store(url)
    if found.place == str(root) and (root / "stages").exists():
        raise ValueError(
            f"The stages of {root} are in the folder itself: another --storage goes with --store {opened.name}."
        )
    return opened


def note_store(root: Path, store: Store) -> None:
    """Notes in a results folder where its stages are, and there whose stages it holds, as `prune` must know."""
    if store.place == str(root):
        return
    from dehazing.pipeline.object_store import ObjectStore

    if isinstance(store, ObjectStore):
        user = User(results_id(root), str(root), socket.gethostname())
        content = json.dumps(asdict(user)).encode()
        name = f"{USERS}/{hashlib.sha256(f'{user.id}:{user.path}'.encode()).hexdigest()[:16]}"
        if store.objects.get(name) != content:
            store.objects.put(name, content)
    pointer, content = root / POINTER, f"{store.place}\n".encode()
    if not pointer.is_file() or pointer.read_bytes() != content:
        aside = root / f"{POINTER}-{os.getpid()}.tmp"
        aside.unlink(missing_ok=True)
        # it may hold credentials, so nobody else ever reads it
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        make_durable(aside)
        aside.replace(pointer)


def other_users(store: Store, roots: Sequence[Path]) -> list[str]:
    """ "host:path" of the results folders that an object store holds stages of, beside `roots`; of a folder, none."""
    from dehazing.pipeline.object_store import ObjectStore

    if not isinstance(store, ObjectStore):
        return []
    ids = {str(root): recorded_id(root) for root in roots}
    others = []
    for name in sorted(store.objects.list(USERS)):
        content = store.objects.get(f"{USERS}/{name}")
        if content is None:
            continue
        try:
            user = User(**json.loads(content))
        except (ValueError, TypeError):
            others.append(f"one that {USERS}/{name} does not say")
            continue
        is_moved = user.host == socket.gethostname() and not Path(user.path).exists()
        if ids.get(user.path) != user.id and not (is_moved and user.id in ids.values()):
            others.append(f"{user.host}:{user.path}")
    return others
