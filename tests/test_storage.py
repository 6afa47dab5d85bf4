"""The stages of a results folder are where its note says, for every command alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from dehazing.pipeline.store import open_store
from studies.storage import note_store, store_of


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
