"""A store in an object store, `scheme://…` as pyarrow opens it, with a local folder as its cache.

Below `stages/<kind>/<fingerprint>/` each publication puts its files under a name of its own, `files-<name>/`, and
then writes the manifest, which says under which. So readers see one publication whole or none, even if two processes
publish the same at once: the later manifest wins, and both stand for equal results. What a publication that was cut
off left is dropped by `prune`.

The cache is a store in a folder: published files are fetched once for all processes of a machine and checked;
checkpoints are written there and mirrored by `save_partial`. It is bounded (`cache`), and can be deleted whenever
nothing runs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dehazing.pipeline import manifest
from dehazing.pipeline.cache import bound, bound_after, cache_folder, used
from dehazing.pipeline.claims import Claims
from dehazing.pipeline.lease import lease
from dehazing.pipeline.manifest import Damaged
from dehazing.pipeline.object_claims import SETTLE_S, ObjectClaims
from dehazing.pipeline.objects import Objects
from dehazing.pipeline.store import FAILED, MANIFEST, Store, parts, reason_of
from dehazing.pipeline.writing import Full, Unwritable, writing

CHECKPOINTS = "epoch-*.safetensors"

log = logging.getLogger(__name__)


class ObjectStore(Store):
    """As `Store`, below a URI; `cache` defaults to a folder of its own below `cache_folder`.

    What cannot be reached, read or written raises Unwritable from every method.
    """

    def __init__(self, place: str, cache: Path | str | None = None, settle_s: float = SETTLE_S) -> None:
        self.objects = Objects(place)
        super().__init__(_default_cache(place, self.objects.name) if cache is None else cache)
        self.cache = Store(self.root)
        self.place = place
        self.name = self.objects.name
        self._settle_s = settle_s

    def check_writable(self) -> None:
        super().check_writable()
        probe = f"probe-{uuid.uuid4().hex[:12]}"
        self.objects.put(probe, b"")
        self.objects.delete(probe)

    def manifest(self, address: str) -> dict[str, Any] | None:
        content = self.objects.get(f"{_below(address)}/{MANIFEST}")
        return None if content is None else manifest.parsed(content)

    def folder(self, address: str) -> Path:
        published = self.published(address)
        used(self.cache, address)
        if not self._has_cached(address, published):
            with lease(self.cache, address):
                if not self._has_cached(address, published):
                    self._fetch_with_room(address, published)
            used(self.cache, address)
            bound_after(self.cache, address)
        return self.cache.folder(address)

    def read(self, address: str, name: str) -> bytes:
        published = self.published(address)
        entry = self._entry(address, name, published)
        if self._has_cached(address, published):
            return self.cache.read(address, name)
        where = self._object(address, published, name)
        content = self.objects.get(where)
        manifest.check_size(entry, None if content is None else len(content), where, self._mend(address))
        manifest.check_bytes(entry, content or b"", where, self._mend(address))
        return content or b""

    def publish(
        self,
        address: str,
        files: Mapping[str, bytes | Path],
        fence: Callable[[], None] | None = None,
        move: bool = False,
    ) -> None:
        if self.has(address):
            return
        here = f"files-{uuid.uuid4().hex[:12]}"
        with lease(self.cache, address):
            self.cache.retract(address)
            self.cache.publish(address, files, fence, move)
            local = self.cache.folder(address)
            entries = self.cache.published(address)["files"]
            try:
                for name in files:
                    self.objects.put(f"{_below(address)}/{here}/{name}", local / name)
                if fence is not None:
                    fence()
                self.objects.delete(f"{_below(address)}/{FAILED}")
                content = manifest.content_of(address, entries, here=here)
                self.objects.put(f"{_below(address)}/{MANIFEST}", content)
            except BaseException:
                with suppress(Unwritable):  # `prune` drops what cannot be dropped now
                    if (self.manifest(address) or {}).get("here") != here:
                        self.objects.delete_below(f"{_below(address)}/{here}")
                raise
        bound_after(self.cache, address)

    def partial(self, address: str) -> Path:
        """The local folder for checkpoints, with those of the store that are newer than its own."""
        folder = self.cache.partial(address)
        newest = max((path.name for path in folder.glob(CHECKPOINTS)), default="")
        for name in sorted(self._remote_partial(address)):
            if name > newest:
                aside = folder / f"{name}.tmp"
                with writing(self.root):
                    if self.objects.fetch(f"{_below(address)}/partial/{name}", aside):
                        aside.replace(folder / name)
        return folder

    def save_partial(self, address: str) -> None:
        """Makes the checkpoints in the store those of the local folder."""
        local = {path.name: path for path in self.cache.partial(address).glob(CHECKPOINTS)}
        remote = self._remote_partial(address)
        for name in sorted(set(local) - set(remote)):
            self.objects.put(f"{_below(address)}/partial/{name}", local[name])
        for name in set(remote) - set(local):
            self.objects.delete(f"{_below(address)}/partial/{name}")

    def clear_partial(self, address: str) -> None:
        self.cache.clear_partial(address)
        self.objects.delete_below(f"{_below(address)}/partial")

    def failure(self, address: str) -> str | None:
        return reason_of(self.objects.get(f"{_below(address)}/{FAILED}"))

    def remember_failure(self, address: str, reason: str) -> None:
        if not self.has(address):
            self.objects.put(f"{_below(address)}/{FAILED}", json.dumps({"reason": reason}).encode())

    def forget_failure(self, address: str) -> None:
        self.objects.delete(f"{_below(address)}/{FAILED}")

    def addresses(self) -> list[str]:
        return [address for address, files in self.files().items() if MANIFEST in files and self.has(address)]

    def files(self) -> dict[str, dict[str, int]]:
        result: dict[str, dict[str, int]] = {}
        for name, entry in sorted(self.objects.list("stages").items()):
            kind, fingerprint, below = name.split("/", 2)
            result.setdefault(f"{kind}/{fingerprint}", {})[below] = entry.size
        return result

    def drop(self, address: str) -> None:
        self.objects.delete(f"{_below(address)}/{MANIFEST}")
        self.objects.delete_below(_below(address))
        self.cache.drop(address)

    def clear_leftovers(self, address: str) -> None:
        kept = (self.manifest(address) or {}).get("here")
        found = {name.split("/")[0] for name in self.objects.list(_below(address))}
        for name in found:
            if name.startswith("files-") and name != kept:
                self.objects.delete_below(f"{_below(address)}/{name}")

    def claims(self, address: str) -> Claims:
        return ObjectClaims(self.objects, _below(address), self._settle_s)

    def _has_cached(self, address: str, published: Mapping[str, Any]) -> bool:
        """Whether the cache holds this publication; damage to it is said and repaired."""
        cached = self.cache.manifest(address)
        if cached is None or cached["files"] != published["files"]:
            return False
        try:
            self.cache.folder(address)
        except Damaged as error:
            log.warning("%s It is only a copy and fetched again.", error)
            return False
        return True

    def _fetch_with_room(self, address: str, published: Mapping[str, Any]) -> None:
        """On a full disk once more, where other copies could be dropped."""
        try:
            self._fetch(address, published)
        except Full:
            if not bound(self.cache, keep=[address], most_bytes=0.0):
                raise
            self._fetch(address, published)

    def _fetch(self, address: str, published: Mapping[str, Any]) -> None:
        self.cache.retract(address)
        with writing(self.root), TemporaryDirectory(dir=self.cache.partial(address), prefix="fetching-") as aside:
            files: dict[str, bytes | Path] = {}
            for name, entry in published["files"].items():
                path, where = Path(aside, name), self._object(address, published, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                size = path.stat().st_size if self.objects.fetch(where, path) else None
                manifest.check_size(entry, size, f"{self.name}/{where}", self._mend(address))
                digest = str(manifest.entry_of(path)["sha256"])
                manifest.check_digest(entry, digest, f"{self.name}/{where}", self._mend(address))
                files[name] = path
            self.cache.publish(address, files, move=True)
        self.cache.clear_partial(address)

    def _object(self, address: str, published: Mapping[str, Any], name: str) -> str:
        return f"{_below(address)}/{published['here']}/{name}"

    def _mend(self, address: str) -> str:
        return f"delete {self.name}/{_below(address)} and give the same command again"

    def _remote_partial(self, address: str) -> list[str]:
        return [name for name in self.objects.list(f"{_below(address)}/partial", recursive=False)]


def _below(address: str) -> str:
    return "/".join(("stages", *parts(address)))


def _default_cache(place: str, name: str) -> Path:
    """A folder for one place: readable, and of its own."""
    readable = re.sub(r"\W+", "-", name).strip("-")[:40]
    return cache_folder() / f"{readable}-{hashlib.sha256(place.encode()).hexdigest()[:12]}"
