import errno
import json
from pathlib import Path

import pytest

from dehazing.pipeline import store as module
from dehazing.pipeline.store import Damaged, Store, open_store

ADDRESS = "hvae/0123456789abcdef"
FILES = {"weights.safetensors": b"w" * 100, "metrics.json": b"{}", "figures/loss.csv": b"1,2"}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def place(store):
    return store.root / "stages" / ADDRESS


def test_what_is_published_is_found_again(store):
    assert not store.has(ADDRESS) and store.addresses() == []
    store.publish(ADDRESS, FILES)
    assert store.has(ADDRESS) and store.addresses() == [ADDRESS]
    folder = Store(store.root).folder(ADDRESS)
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["figures", "manifest.json", "metrics.json", "weights.safetensors"]
    )


def test_a_path_is_copied(store, tmp_path):
    (tmp_path / "source").write_bytes(b"content")
    store.publish(ADDRESS, {"copy.bin": tmp_path / "source"})
    assert (store.folder(ADDRESS) / "copy.bin").read_bytes() == b"content"
    assert (tmp_path / "source").exists()


def test_a_second_publication_does_nothing(store):
    store.publish(ADDRESS, {"a": b"first"})
    store.publish(ADDRESS, {"a": b"second", "b": b""})
    assert (store.folder(ADDRESS) / "a").read_bytes() == b"first"
    assert not (store.folder(ADDRESS) / "b").exists()


def test_files_without_a_complete_manifest_are_not_trusted(store):
    store.publish(ADDRESS, FILES)
    manifest = place(store) / "manifest.json"
    whole = manifest.read_bytes()
    for cut in (b"", whole[: len(whole) // 2]):
        manifest.write_bytes(cut)
        assert not store.has(ADDRESS)
        with pytest.raises(ValueError, match="no complete manifest"):
            store.folder(ADDRESS)
    store.publish(ADDRESS, FILES)
    assert store.folder(ADDRESS) == place(store)


def test_an_absent_address_is_named(store):
    with pytest.raises(ValueError, match=ADDRESS):
        store.folder(ADDRESS)


@pytest.mark.parametrize("damage", ["removed", "truncated", "changed"])
def test_a_damaged_file_is_named_with_the_way_to_mend_it(store, damage):
    store.publish(ADDRESS, FILES)
    weights = place(store) / "weights.safetensors"
    if damage == "removed":
        weights.unlink()
    else:
        weights.write_bytes(b"w" * 50 if damage == "truncated" else b"x" * 100)
    with pytest.raises(ValueError, match=r"weights\.safetensors.*delete the folder.*same command"):
        store.folder(ADDRESS)


def test_files_are_checked_once_per_process(store, monkeypatch):
    store.publish(ADDRESS, FILES)
    store.folder(ADDRESS)
    monkeypatch.setattr(module, "entry_of", lambda path: pytest.fail("checked again"))
    store.folder(ADDRESS)
    Store(store.root).folder(ADDRESS)


def test_a_failed_publication_leaves_no_trace_but_the_checkpoints(store, monkeypatch):
    (store.partial(ADDRESS) / "epoch-000001-ab.safetensors").write_bytes(b"checkpoint")

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(ValueError, match="cannot be written: No space left on device"):
            store.publish(ADDRESS, FILES)
    assert not store.has(ADDRESS)
    assert [path.name for path in place(store).iterdir()] == ["partial"]
    assert (store.partial(ADDRESS) / "epoch-000001-ab.safetensors").read_bytes() == b"checkpoint"
    store.publish(ADDRESS, FILES)
    assert store.has(ADDRESS)


def test_a_root_that_cannot_be_a_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match=r"results folder .* must be writable"):
        Store(tmp_path / "file").publish(ADDRESS, FILES)


def test_whoever_lost_the_right_to_publish_does_not(store):
    def lost():
        raise RuntimeError("taken over")

    with pytest.raises(RuntimeError, match="taken over"):
        store.publish(ADDRESS, FILES, fence=lost)
    assert not store.has(ADDRESS)
    assert list(place(store).iterdir()) == []


def test_the_right_is_asked_for_again_before_the_manifest(store):
    answers = iter([True, False])

    def fence():
        if not next(answers):
            raise RuntimeError("taken over")

    with pytest.raises(RuntimeError, match="taken over"):
        store.publish(ADDRESS, FILES, fence=fence)
    assert not store.has(ADDRESS)


def test_the_manifest_lists_sizes_and_digests(store):
    store.publish(ADDRESS, {"a": b""})
    entry = json.loads((place(store) / "manifest.json").read_text())["files"]["a"]
    assert entry == {"size": 0, "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}


def test_a_name_cannot_leave_the_folder(store):
    with pytest.raises(AssertionError):
        store.publish(ADDRESS, {"../other": b""})


def test_a_store_is_opened_again_by_its_place(store):
    store.publish(ADDRESS, FILES)
    assert type(open_store(store.place)) is Store and open_store(store.place).has(ADDRESS)


def test_one_file_is_read_and_checked(store):
    store.publish(ADDRESS, FILES)
    assert store.read(ADDRESS, "figures/loss.csv") == b"1,2"
    with pytest.raises(ValueError, match="its manifest lists weights"):
        store.read(ADDRESS, "figures/los.csv")
    with pytest.raises(ValueError, match="no complete manifest"):
        store.read("unet/0", "metrics.json")
    (place(store) / "metrics.json").write_bytes(b"[]")
    with pytest.raises(Damaged, match=r"metrics\.json.*changed.*delete the folder"):
        store.read(ADDRESS, "metrics.json")
    (place(store) / "metrics.json").unlink()
    with pytest.raises(Damaged, match=r"metrics\.json.*missing"):
        store.read(ADDRESS, "metrics.json")


def test_a_failure_is_remembered_until_it_is_forgotten(store):
    assert store.failure(ADDRESS) is None and not store.root.exists()
    store.remember_failure(ADDRESS, "the loss is nan")
    assert Store(store.root).failure(ADDRESS) == "the loss is nan" and not store.has(ADDRESS)
    store.forget_failure(ADDRESS)
    store.forget_failure(ADDRESS)
    assert store.failure(ADDRESS) is None


def test_what_is_published_has_not_failed(store):
    store.remember_failure(ADDRESS, "the loss is nan")
    store.publish(ADDRESS, FILES)
    assert store.failure(ADDRESS) is None
    store.remember_failure(ADDRESS, "too late")
    assert store.failure(ADDRESS) is None


def test_everything_that_lies_there_is_listed_and_can_be_dropped(store):
    store.publish(ADDRESS, FILES)
    (store.partial("unet/1") / "epoch-000001-ab.safetensors").write_bytes(b"12345")
    assert store.files()["unet/1"] == {"partial/epoch-000001-ab.safetensors": 5}
    assert set(store.files()[ADDRESS]) == {*FILES, "manifest.json"}
    store.drop(ADDRESS)
    store.drop(ADDRESS)
    assert list(store.files()) == ["unet/1"] and not store.has(ADDRESS)
