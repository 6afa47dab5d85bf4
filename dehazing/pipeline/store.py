"""The store: what every stage made, in `root/stages/<kind>/<fingerprint>/`, published whole or not at all.

A folder counts when it holds a complete manifest (size and SHA-256 of every file), which is written last and
appears in one step. Beside the published files lie `partial/`, the checkpoints of an execution under way, and
the lease of whoever works on it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePosixPath

MANIFEST = "manifest.json"


class Unwritable(ValueError):
    """The results folder is full or cannot be written; what was under way can go on once it can."""


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns a failure to write below `folder` into the one sentence that the user needs, Unwritable."""
    try:
        yield
    except OSError as error:
        raise Unwritable(
            f"The results folder {folder} must be writable, but cannot be written: {error.strerror or error}."
        ) from error


class Store:
    """A folder of published stages; an address is "kind/fingerprint"."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).expanduser().resolve()

    def has(self, address: str) -> bool:
        """Whether the address is published: a complete manifest is there."""
        return _manifest(self._place(address)) is not None

    def folder(self, address: str) -> Path:
        """The folder of a published address, its files checked against the manifest once per process.

        ValueError where it is absent or damaged, saying which file and how to mend it.
        """
        place = self._place(address)
        if _manifest(place) is None:
            raise ValueError(f"{address} must be published in {self.root}, but there is no complete manifest of it.")
        _check(place, (place / MANIFEST).stat().st_mtime_ns)
        return place

    def publish(self, address: str, files: Mapping[str, bytes | Path], fence: Callable[[], None] | None = None) -> None:
        """Publishes files (bytes, or paths that are copied) under their names; a second time does nothing.

        `fence` is called before anything is moved into place and again right before the manifest appears; it
        raises where the right to publish was lost.
        Unwritable where the folder is full or cannot be written; checkpoints stay as they are.
        """
        if self.has(address):
            return
        assert MANIFEST not in files, "the manifest is the store's own"
        place = self._place(address)
        with writing(self.root):
            place.mkdir(parents=True, exist_ok=True)
            for leftover in place.glob("publishing-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            aside = place / f"publishing-{uuid.uuid4().hex[:12]}"
            try:
                manifest = {"address": address, "files": {}}
                for name, content in files.items():
                    manifest["files"][name] = _write(aside, name, content)  # type: ignore[index]
                _write(aside, MANIFEST, json.dumps(manifest, indent=1).encode())
                if fence is not None:
                    fence()
                for name in files:
                    (place / name).parent.mkdir(parents=True, exist_ok=True)
                    (aside / name).replace(place / name)
                if fence is not None:
                    fence()
                (aside / MANIFEST).replace(place / MANIFEST)
            finally:
                shutil.rmtree(aside, ignore_errors=True)

    def partial(self, address: str) -> Path:
        """The folder for the checkpoints of an execution under way, made where it is missing."""
        folder = self._place(address) / "partial"
        with writing(self.root):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def clear_partial(self, address: str) -> None:
        """Drops the checkpoints of a finished execution."""
        shutil.rmtree(self._place(address) / "partial", ignore_errors=True)

    def addresses(self) -> list[str]:
        """Every published address."""
        places = sorted((self.root / "stages").glob(f"*/*/{MANIFEST}"))
        found = [f"{place.parent.parent.name}/{place.parent.name}" for place in places]
        return [address for address in found if self.has(address)]

    def lease_folder(self, address: str) -> Path:
        """Where the lease of an address lies, made where it is missing."""
        place = self._place(address)
        with writing(self.root):
            place.mkdir(parents=True, exist_ok=True)
        return place

    def _place(self, address: str) -> Path:
        kind, _, name = address.partition("/")
        assert kind and name and "/" not in name and ".." not in (kind, name), f"not an address: {address!r}"
        return self.root / "stages" / kind / name


def _write(folder: Path, name: str, content: bytes | Path) -> dict[str, int | str]:
    parts = PurePosixPath(name).parts
    assert parts and ".." not in parts and not name.startswith("/"), f"not a file name: {name!r}"
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Path):
        shutil.copyfile(content, path)
    else:
        path.write_bytes(content)
    return {"size": path.stat().st_size, "sha256": _sha256(path)}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest(place: Path) -> dict | None:
    """The manifest of a folder, or None where there is none or it was cut off while it was written."""
    try:
        manifest = json.loads((place / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and "files" in manifest else None


@cache
def _check(place: Path, published_ns: int) -> None:
    manifest = _manifest(place)
    assert manifest is not None
    for name, entry in manifest["files"].items():
        path = place / name
        mend = f"delete the folder {place} and give the same command again"
        if not path.is_file():
            raise ValueError(f"{path} must be there as its manifest says, but is missing; {mend}.")
        size = path.stat().st_size
        if size != entry["size"]:
            raise ValueError(f"{path} must have {entry['size']} bytes, but has {size}; {mend}.")
        if _sha256(path) != entry["sha256"]:
            raise ValueError(f"{path} must be as it was published, but its content has changed; {mend}.")
