"""The store: what every stage made, in `root/stages/<kind>/<fingerprint>/`, published whole or not at all.

A folder counts when it holds a complete manifest (size and SHA-256 of every file), which is written last and
appears in one step. Beside the published files lie `partial/`, the checkpoints of an execution under way, the
lease of whoever works on it, and `failed.json`, why it failed, where trying again would fail again.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from dehazing.pipeline import manifest
from dehazing.pipeline.claims import Claims, FolderClaims
from dehazing.pipeline.manifest import Damaged as Damaged
from dehazing.pipeline.manifest import entry_of
from dehazing.pipeline.writing import Unwritable as Unwritable
from dehazing.pipeline.writing import make_durable, writing

MANIFEST = manifest.NAME
FAILED = "failed.json"
POINTER = "store.url"


def open_store(place: str | Path) -> Store:
    """The store at a path (a folder) or at `scheme://…` (an object store); `store.place` opens it again.

    A folder that names an object store in the file `store.url` stands for that one; ValueError where it is empty.
    """
    if not (isinstance(place, str) and "://" in place):
        pointer = Path(place).expanduser() / POINTER
        if pointer.is_file():
            place = pointer.read_text().strip()
            if not place:
                raise ValueError(
                    f"{pointer} must hold the URL of the store, but is empty: write it there, or remove the file "
                    "where the stages are in the folder itself."
                )
    if isinstance(place, str) and "://" in place:
        from dehazing.pipeline.object_store import ObjectStore

        return ObjectStore(place)
    return Store(place)


class Store:
    """A folder of published stages; an address is "kind/fingerprint"."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).expanduser().resolve()
        self.place = str(self.root)
        self.name = self.place  # as messages say it

    def check_writable(self) -> None:
        """Unwritable where nothing can be written."""
        with writing(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass

    def has(self, address: str) -> bool:
        """Whether the address is published: a complete manifest is there."""
        return self.manifest(address) is not None

    def manifest(self, address: str) -> dict[str, Any] | None:
        """The complete manifest of an address, or None where it is not published."""
        return _manifest(self._place(address))

    def folder(self, address: str) -> Path:
        """The local folder of a published address, its files checked against the manifest once per process.

        Damaged, a ValueError, where it is absent, or damaged: then it says which file and how to mend it.
        """
        place = self._place(address)
        self.published(address)
        _check(place, (place / MANIFEST).stat().st_mtime_ns)
        return place

    def read(self, address: str, name: str) -> bytes:
        """One published file, checked against the manifest. ValueError as for `folder`, and for an unknown name."""
        entry, path = self._entry(address, name, self.published(address)), self._place(address) / name
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            manifest.check_size(entry, None, str(path), _mend(path.parent))
            raise
        manifest.check_bytes(entry, content, str(path), _mend(path.parent))
        return content

    def publish(
        self,
        address: str,
        files: Mapping[str, bytes | Path],
        fence: Callable[[], None] | None = None,
        move: bool = False,
    ) -> None:
        """Publishes files (bytes, or paths, copied or moved) under their names; a second time does nothing.

        `fence` is called before anything is moved into place and again right before the manifest appears; it
        raises where the right to publish was lost. A remembered failure is forgotten.
        Unwritable where the folder is full or cannot be written; checkpoints stay as they are.
        """
        if self.has(address):
            return
        assert not {MANIFEST, FAILED} & set(files), "these are the store's own"
        place = self._place(address)
        with writing(self.root):
            place.mkdir(parents=True, exist_ok=True)
            self.clear_leftovers(address)
            with _aside(place, "publishing") as aside:
                entries = {name: _write(aside, name, content, move) for name, content in files.items()}
                _write(aside, MANIFEST, manifest.content_of(address, entries))
                _appear(place, aside, files, fence or (lambda: None))

    def partial(self, address: str) -> Path:
        """The folder for the checkpoints of an execution under way, made where it is missing."""
        folder = self._place(address) / "partial"
        with writing(self.root):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def save_partial(self, address: str) -> None:
        """Makes the checkpoints in `partial` durable for other machines: in a folder they are."""

    def clear_partial(self, address: str) -> None:
        """Drops the checkpoints of a finished execution."""
        shutil.rmtree(self._place(address) / "partial", ignore_errors=True)

    def failure(self, address: str) -> str | None:
        """Why the execution failed, where it was remembered that it would fail again; None otherwise."""
        return reason_of(_bytes(self._place(address) / FAILED))

    def remember_failure(self, address: str, reason: str) -> None:
        """Remembers a failure that would come again, unless the address is published. Unwritable as `publish`."""
        if self.has(address):
            return
        place = self._place(address)
        with writing(self.root):
            place.mkdir(parents=True, exist_ok=True)
            with _aside(place, "publishing") as aside:
                _write(aside, FAILED, json.dumps({"reason": reason}).encode())
                (aside / FAILED).replace(place / FAILED)

    def forget_failure(self, address: str) -> None:
        """Lets the execution be tried again."""
        with writing(self.root):
            (self._place(address) / FAILED).unlink(missing_ok=True)

    def addresses(self) -> list[str]:
        """Every published address."""
        places = sorted((self.root / "stages").glob(f"*/*/{MANIFEST}"))
        found = [f"{place.parent.parent.name}/{place.parent.name}" for place in places]
        return [address for address in found if self.has(address)]

    def files(self) -> dict[str, dict[str, int]]:
        """Everything that lies there, published or not: address → name below it → bytes."""
        result: dict[str, dict[str, int]] = {}
        for place in sorted((self.root / "stages").glob("*/*")):
            paths = [path for path in place.rglob("*") if path.is_file()]
            names = {path.relative_to(place).as_posix(): path.stat().st_size for path in paths}
            result[f"{place.parent.name}/{place.name}"] = names
        return result

    def retract(self, address: str) -> None:
        """Removes the manifest of an address, so that it can be published anew."""
        with writing(self.root):
            (self._place(address) / MANIFEST).unlink(missing_ok=True)

    def drop(self, address: str) -> None:
        """Removes all of an address, its manifest first, so that nobody trusts what is going away."""
        self.retract(address)
        place = self._place(address)
        with writing(self.root):
            if place.exists():
                shutil.rmtree(place)

    def clear_leftovers(self, address: str) -> None:
        """Drops what publications that were cut off left; only for whoever holds the lease."""
        for leftover in self._place(address).glob("publishing-*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def claims(self, address: str) -> Claims:
        """What leases of an address are made of."""
        return FolderClaims(self.lease_folder(address))

    def lease_folder(self, address: str) -> Path:
        """Where the lease of an address lies; the folder may be missing."""
        return self._place(address)

    def published(self, address: str) -> dict[str, Any]:
        """The manifest of an address; Damaged where it is not published."""
        found = self.manifest(address)
        if found is None:
            raise Damaged(
                f"{address} must be published in {self.name}, but there is no complete manifest of it; "
                "give the same command again."
            )
        return found

    def _entry(self, address: str, name: str, published: Mapping[str, Any]) -> dict[str, Any]:
        files = published["files"]
        if name not in files:
            raise ValueError(f"{address} must have a file {name}, but its manifest lists {', '.join(files) or 'none'}.")
        return files[name]

    def _place(self, address: str) -> Path:
        kind, name = parts(address)
        return self.root / "stages" / kind / name


def parts(address: str) -> tuple[str, str]:
    """Kind and fingerprint of an address."""
    kind, _, name = address.partition("/")
    assert kind and name and "/" not in name and ".." not in (kind, name), f"not an address: {address!r}"
    return kind, name


@contextmanager
def _aside(place: Path, purpose: str) -> Iterator[Path]:
    folder = place / f"{purpose}-{uuid.uuid4().hex[:12]}"
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _appear(place: Path, aside: Path, names: Mapping[str, Any], fence: Callable[[], None]) -> None:
    """Moves what lies aside into place, the manifest last; no remembered failure outlives it."""
    fence()
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (aside / name).replace(place / name)
    fence()
    (place / FAILED).unlink(missing_ok=True)
    (aside / MANIFEST).replace(place / MANIFEST)
    make_durable(place)  # before the journals of others say that it is done


def _write(folder: Path, name: str, content: bytes | Path, move: bool = False) -> dict[str, int | str]:
    steps = PurePosixPath(name).parts
    assert steps and ".." not in steps and not name.startswith("/"), f"not a file name: {name!r}"
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Path) and move:
        shutil.move(content, path)
    elif isinstance(content, Path):
        shutil.copyfile(content, path)
    else:
        path.write_bytes(content)
    make_durable(path)
    return entry_of(path)


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def reason_of(content: bytes | None) -> str | None:
    """What a remembered failure says."""
    try:
        return None if content is None else str(json.loads(content)["reason"])
    except (ValueError, LookupError, TypeError):
        return None  # cut off while it was written


def _manifest(place: Path) -> dict[str, Any] | None:
    content = _bytes(place / MANIFEST)
    return None if content is None else manifest.parsed(content)


def _mend(place: Path) -> str:
    return f"delete the folder {place} and give the same command again"


@cache
def _check(place: Path, published_ns: int) -> None:
    found = _manifest(place)
    assert found is not None
    for name, entry in found["files"].items():
        path = place / name
        manifest.check_size(entry, path.stat().st_size if path.is_file() else None, str(path), _mend(place))
        manifest.check_digest(entry, str(entry_of(path)["sha256"]), str(path), _mend(place))
