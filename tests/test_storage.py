"""The stages of a results folder are where its note says, for every command alike."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dehazing.pipeline.store import open_store
from studies.storage import note_store, other_users, store_of
from studies.tracking.identity import ID, recorded_id, results_id


def test_a_results_folder_remembers_its_object_store(tmp_path: Path) -> None:
    root, url = tmp_path / "results", f"file://{tmp_path}/objects"
    root.mkdir()
    assert store_of(root, None).place == str(root)
    store = store_of(root, url)
    note_store(root, store)
    store.publish("unet/ab", {"metrics.json": b"{}"})
    assert open_store(root).place == store_of(root, None).place == store_of(root, url).place == url
    assert open_store(root).read("unet/ab", "metrics.json") == b"{}"
    with pytest.raises(ValueError, match=r"so --store must be that, but is file:///elsewhere"):
        store_of(root, "file:///elsewhere")


def test_a_folder_that_has_stages_of_its_own_keeps_them(tmp_path: Path) -> None:
    open_store(tmp_path).publish("unet/ab", {"metrics.json": b"{}"})
    with pytest.raises(ValueError, match="are in the folder itself"):
        store_of(tmp_path, f"file://{tmp_path}/objects")
    with pytest.raises(ValueError, match="must be the URL of an object store"):
        store_of(tmp_path, "bucket/folder")


def test_an_empty_note_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.url").write_text("\n")
    with pytest.raises(ValueError, match=r"store.url must hold the URL of the store, but is empty"):
        open_store(tmp_path)


def test_secrets_of_the_url_are_for_nobody_else(tmp_path: Path) -> None:
    root, url = tmp_path / "results", f"file://{tmp_path}/objects"
    root.mkdir()
    note_store(root, store_of(root, url))
    note = root / "store.url"
    assert note.stat().st_mode & 0o777 == 0o600 and note.read_text().strip() == url
    before = note.stat()
    note_store(root, store_of(root, url))
    assert note.stat().st_ino == before.st_ino, "written only where it differs"
    note.write_text("s3://me:secret@bucket/a?scheme=http&endpoint_override=localhost%3A9\n")
    with pytest.raises(ValueError) as raised:
        store_of(root, "s3://me:hidden@bucket/b?scheme=http&endpoint_override=localhost%3A9")
    assert "are in s3://bucket/a, so --store must be that, but is s3://bucket/b." in str(raised.value)
    with pytest.raises(ValueError, match="s3://bucket/a with other credentials or options") as raised:
        store_of(root, "s3://me:hidden@bucket/a?scheme=http&endpoint_override=localhost%3A9")
    assert "hidden" not in str(raised.value) and "me:" not in str(raised.value)
    assert [path.name for path in root.iterdir() if path.suffix == ".tmp"] == []


def test_an_object_store_knows_the_results_folders_that_use_it(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/objects"
    a, b, moved = tmp_path / "a", tmp_path / "b", tmp_path / "moved"
    for root in (a, b):
        root.mkdir()
        note_store(root, store_of(root, url))
    store = open_store(a)
    assert other_users(store, [a, b]) == [] == other_users(open_store(tmp_path / "folder"), [])
    (other,) = other_users(store, [a])
    assert other.endswith(f":{b}")
    b.rename(moved)
    assert other_users(store, [a, moved]) == [], "it keeps its id"
    note_store(moved, store)
    assert other_users(store, [a, moved]) == [] and len(other_users(store, [a])) == 2
    store.objects.put("roots/cut", b"{")  # type: ignore[attr-defined]
    assert other_users(store, [a, moved]) == ["one that roots/cut does not say"]


def test_drivers_that_begin_together_find_one_id(tmp_path: Path) -> None:
    for number in range(20):
        root = tmp_path / str(number)
        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(results_id, [root] * 8))) == 1


def test_an_id_is_made_once_and_moves_along(tmp_path: Path) -> None:
    root = tmp_path / "results"
    assert recorded_id(root) is None
    found = results_id(root)
    assert results_id(root) == recorded_id(root) == found and [p.name for p in root.iterdir()] == [ID]
    root.rename(tmp_path / "moved")
    assert results_id(tmp_path / "moved") == found != results_id(tmp_path / "other")
    (tmp_path / "other" / ID).write_text("mine")
    with pytest.raises(ValueError, match="must hold 32 hexadecimal digits, but holds 'mine'"):
        results_id(tmp_path / "other")
