"""A machine's copies of what an object store holds: fetched once by all its processes, and bounded."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dehazing.pipeline import cache
from dehazing.pipeline.cache import USED, bound, cache_folder, limit_bytes, used
from dehazing.pipeline.lease import lease
from dehazing.pipeline.object_store import ObjectStore
from dehazing.pipeline.store import Store, Unwritable
from tests.object_places import ADDRESS
from tests.small_disk import small_disk

ROOT = Path(__file__).parents[1]
KB = 1000


def copies(root: Path, *names: str) -> Store:
    """A cache of entries of 10 kB each, the first of them asked for longest ago."""
    store = Store(root)
    for age, name in enumerate(reversed(names)):
        store.publish(f"hvae/{name}", {"weights": bytes(10 * KB)})
        used(store, f"hvae/{name}")
        for path in (store.root / "stages" / "hvae" / name).iterdir():
            moment_s = time.time() - 3600 * (age + 1)
            os.utime(path, (moment_s, moment_s))
    return store


def test_what_was_asked_for_longest_ago_goes_first(tmp_path: Path) -> None:
    store = copies(tmp_path, "a", "b", "c", "d")
    assert bound(store, most_bytes=100 * KB) == []
    assert bound(store, most_bytes=25 * KB) == ["hvae/a", "hvae/b"]
    assert store.addresses() == ["hvae/c", "hvae/d"] and not (tmp_path / "stages" / "hvae" / "a").exists()
    assert bound(store, keep=["hvae/c"], most_bytes=0.0) == ["hvae/d"]


def test_what_is_in_use_stays_though_it_is_too_much(tmp_path: Path) -> None:
    store = copies(tmp_path, "a", "b", "c")
    used(store, "hvae/b")
    with lease(store, "hvae/c"):
        assert bound(store, most_bytes=0.0) == ["hvae/a"]
    assert store.addresses() == ["hvae/b", "hvae/c"]
    assert (store.folder("hvae/b") / USED).is_file()


def test_checkpoints_go_after_a_day_without_a_touch_and_not_before(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name, hours in (("a", 1), ("b", 25)):
        path = store.partial(f"hvae/{name}") / "epoch-000001-0.safetensors"
        path.write_bytes(b"x")
        for one in (path, path.parent, path.parent.parent):
            os.utime(one, (time.time() - 3600 * hours,) * 2)
    assert bound(store, most_bytes=0.0) == ["hvae/b"] and (tmp_path / "stages" / "hvae" / "a").exists()


def test_where_it_lies_and_how_large_it_is_can_be_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("DEHAZING_CACHE", raising=False)
    monkeypatch.delenv("DEHAZING_CACHE_GB", raising=False)
    assert cache_folder() == tmp_path / "xdg" / "iterative-dehazing" and limit_bytes() == 20e9
    monkeypatch.setenv("DEHAZING_CACHE", str(tmp_path / "scratch"))
    monkeypatch.setenv("DEHAZING_CACHE_GB", "0.5")
    assert ObjectStore((tmp_path / "objects").as_uri()).root.parent == tmp_path / "scratch" and limit_bytes() == 0.5e9
    for text in ("20 GB", "-1", "nan"):
        monkeypatch.setenv("DEHAZING_CACHE_GB", text)
        with pytest.raises(Unwritable, match="DEHAZING_CACHE_GB must be a number of gigabytes"):
            limit_bytes()


def test_the_object_store_keeps_its_cache_within_bounds(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEHAZING_CACHE_GB", str(25 * KB / 1e9))
    monkeypatch.setattr(cache, "IN_USE_S", 0.0)
    maker, reader = (ObjectStore(place, tmp_path / name, settle_s=0.0) for name in ("maker", "reader"))
    for number in range(4):
        maker.publish(f"hvae/{number}", {"weights": bytes(10 * KB)})
        assert (reader.folder(f"hvae/{number}") / "weights").stat().st_size == 10 * KB
        time.sleep(0.02)  # the clock of files is coarse
    assert maker.cache.addresses() == reader.cache.addresses() == ["hvae/2", "hvae/3"]
    assert len(reader.addresses()) == 4, "the store itself loses nothing"
    assert (reader.folder("hvae/0") / "weights").stat().st_size == 10 * KB, "and is asked again"


def test_two_processes_of_a_machine_fetch_once(tmp_path: Path) -> None:
    place = (tmp_path / "objects").as_uri()
    ObjectStore(place, tmp_path / "maker", settle_s=0.0).publish(ADDRESS, {"weights": os.urandom(1_000_000)})
    fetched = tmp_path / "fetched"
    code = f"""
import os, sys, time
from pathlib import Path
from dehazing.pipeline.object_store import ObjectStore
class Noted(ObjectStore):
    def _fetch(self, *words):
        with open({str(fetched)!r}, "a") as file:
            file.write("once\\n")
        time.sleep(1.0)  # the other one asks meanwhile
        super()._fetch(*words)
store = Noted({place!r}, {str(tmp_path / "node")!r})
Path({str(tmp_path)!r}, sys.argv[1]).touch()
while len(list(Path({str(tmp_path)!r}).glob("ready-*"))) < 2:
    time.sleep(0.01)
assert len((store.folder({ADDRESS!r}) / "weights").read_bytes()) == 1_000_000
"""
    words = [sys.executable, "-c", code]
    both = [subprocess.Popen([*words, f"ready-{number}"], cwd=ROOT) for number in range(2)]
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    assert fetched.read_text() == "once\n"


def test_a_full_disk_makes_room_by_dropping_other_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = (tmp_path / "objects").as_uri()
    maker = ObjectStore(place, tmp_path / "maker", settle_s=0.0)
    for name in "ab":
        maker.publish(f"hvae/{name}", {"weights": os.urandom(100 * KB)})
    with small_disk(tmp_path / "small", 160) as small:
        reader = ObjectStore(place, small)
        reader.folder("hvae/a")
        with pytest.raises(Unwritable, match="No space left"):
            reader.folder("hvae/b")  # both are in use
        monkeypatch.setattr(cache, "IN_USE_S", 0.0)
        assert (reader.folder("hvae/b") / "weights").stat().st_size == 100 * KB
        assert reader.cache.addresses() == ["hvae/b"]
