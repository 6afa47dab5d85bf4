"""The objects that a lease is made of, where a store can neither rename nor refuse to overwrite.

To claim a number, a process writes `LEASE-<number>-<its own name>`, waits until whoever claimed it at the same time
must have written too, and lists: the claim that the store's clock says was written first holds, of several the first
by name; the others withdraw. `…-beat` beside a claim is written again and again while its owner lives.

Guaranteed, where a listing shows what was written before it (S3, GCS and Azure promise that): as long as a claim is
written within `settle_s` less the resolution of the store's clock (a second), one process at a time believes that it
holds; and whoever was taken for dead finds a higher number. Not guaranteed beyond that: after a longer stall, two
may make the same execution for a while. That costs time alone, as each publication has files of its own.
"""

from __future__ import annotations

import uuid

from dehazing.pipeline.claims import Claim, Owner, read, written
from dehazing.pipeline.objects import Objects

SETTLE_S = 3.0
NUMBER = slice(6, 12)
BEAT, RELEASED = "-beat", "-released"


class ObjectClaims:
    """Claims below `folder`, an address of the store."""

    def __init__(self, objects: Objects, folder: str, settle_s: float = SETTLE_S) -> None:
        self._objects = objects
        self._folder = folder
        self.settle_s = settle_s

    def look(self) -> Claim | None:
        found = self._list()
        released = {name.removesuffix(RELEASED) for name in found if name.endswith(RELEASED)}
        open_claims = {name for name in found if not name.endswith((BEAT, RELEASED))} - released
        number = max((int(name[NUMBER]) for name in open_claims | released), default=0)
        highest = [name for name in open_claims if int(name[NUMBER]) == number]
        if highest:
            name = min(highest, key=lambda name: (found[name], name))
            content = self._objects.get(f"{self._folder}/{name}")
            owner = None if content is None else read(content)
            touched_ns = max(found[name], found.get(name + BEAT, 0))
            return Claim(name, number, touched_ns, owner)
        names = [name for name in released if int(name[NUMBER]) == number]
        return Claim(min(names), number, 0, None, released=True) if names else None

    def take(self, number: int) -> str | None:
        name = f"LEASE-{number:06d}-{uuid.uuid4().hex[:12]}"
        self._objects.put(f"{self._folder}/{name}", written(Owner.myself()).encode())
        return name

    def holds(self, name: str) -> bool:
        newest = self.look()
        return newest is not None and newest.name == name

    def withdraw(self, name: str) -> None:
        self.drop(name)

    def beat(self, name: str) -> None:
        if name not in self._list():
            raise FileNotFoundError(name)
        self._objects.put(f"{self._folder}/{name}{BEAT}", b"")

    def release(self, name: str) -> None:
        if name in self._list():
            self._objects.put(f"{self._folder}/{name}{RELEASED}", b"")
            self.drop(name)

    def drop(self, name: str) -> None:
        self._objects.delete(f"{self._folder}/{name}{BEAT}")
        self._objects.delete(f"{self._folder}/{name}")

    def drop_before(self, number: int) -> None:
        for name in self._list():
            if int(name[NUMBER]) < number:
                self._objects.delete(f"{self._folder}/{name}")

    def _list(self) -> dict[str, int]:
        """name → when it was written, by the store's clock."""
        found = self._objects.list(self._folder, recursive=False)
        return {name: entry.written_ns for name, entry in found.items() if name.startswith("LEASE-")}
