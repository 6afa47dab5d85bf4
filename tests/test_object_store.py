"""The object store publishes whole or not at all, on pyarrow's local filesystem and on S3 as moto's server plays it."""

import os

import pytest

from dehazing.pipeline.lease import LeaseLost
from dehazing.pipeline.object_store import ObjectStore
from dehazing.pipeline.store import Damaged
from tests.object_places import ADDRESS, FILES, names


def test_what_is_published_is_found_elsewhere(store, elsewhere):
    store.check_writable()
    assert not elsewhere.has(ADDRESS) and elsewhere.addresses() == []
    store.publish(ADDRESS, FILES)
    assert elsewhere.has(ADDRESS) and elsewhere.addresses() == [ADDRESS]
    assert elsewhere.read(ADDRESS, "figures/loss.csv") == b"1,2"
    assert not elsewhere.root.exists()  # one file is read without fetching all
    folder = elsewhere.folder(ADDRESS)
    assert folder.is_relative_to(elsewhere.root)
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert elsewhere.read(ADDRESS, "figures/loss.csv") == b"1,2"


def test_it_is_fetched_once(store, elsewhere):
    store.publish(ADDRESS, FILES)
    before = (elsewhere.folder(ADDRESS) / "metrics.json").stat().st_mtime_ns
    assert (elsewhere.folder(ADDRESS) / "metrics.json").stat().st_mtime_ns == before
    (store.folder(ADDRESS) / "metrics.json").write_bytes(b"[]")  # a damaged copy, of another size than checked
    other = ObjectStore(store.place, store.root)
    os.utime(other.root / "stages" / ADDRESS / "manifest.json")  # as a fresh process would look
    assert (other.folder(ADDRESS) / "metrics.json").read_bytes() == b"{}"


def test_a_second_publication_does_nothing(store, elsewhere):
    store.publish(ADDRESS, {"a": b"first"})
    elsewhere.publish(ADDRESS, {"a": b"second"})
    assert elsewhere.read(ADDRESS, "a") == b"first" and len(names(store)) == 2


def test_two_publications_at_once_do_not_mix(store, elsewhere):
    def overtaken():
        if not elsewhere.has(ADDRESS):
            elsewhere.publish(ADDRESS, {"a": b"theirs", "b": b"theirs"})

    store.publish(ADDRESS, {"a": b"ours", "b": b"ours"}, fence=overtaken)
    assert store.read(ADDRESS, "a") == store.read(ADDRESS, "b") == b"ours"
    assert (elsewhere.folder(ADDRESS) / "a").read_bytes() == b"ours"
    assert len(names(store)) == 5
    store.clear_leftovers(ADDRESS)
    assert len(names(store)) == 3 and store.read(ADDRESS, "b") == b"ours"


def test_without_a_complete_manifest_nothing_is_there(store):
    store.publish(ADDRESS, FILES)
    below = f"stages/{ADDRESS}/manifest.json"
    whole = store.objects.get(below)
    store.objects.put(below, whole[: len(whole) // 2])
    assert not store.has(ADDRESS) and store.addresses() == []
    with pytest.raises(ValueError, match="no complete manifest"):
        store.folder(ADDRESS)
    store.publish(ADDRESS, FILES)
    assert store.has(ADDRESS) and store.folder(ADDRESS).is_dir()


@pytest.mark.parametrize("damage", ["removed", "truncated", "changed"])
def test_damage_is_named_with_the_way_to_mend_it(store, elsewhere, damage):
    store.publish(ADDRESS, FILES)
    (weights,) = [f"stages/{ADDRESS}/{name}" for name in names(store) if name.endswith("weights.safetensors")]
    if damage == "removed":
        store.objects.delete(weights)
    else:
        store.objects.put(weights, b"w" * 50 if damage == "truncated" else b"x" * 100)
    for look in (lambda: elsewhere.folder(ADDRESS), lambda: elsewhere.read(ADDRESS, "weights.safetensors")):
        with pytest.raises(Damaged, match=r"weights\.safetensors.*delete .*same command"):
            look()
    assert not list(elsewhere.root.rglob("weights*"))


def test_whoever_lost_the_right_to_publish_leaves_nothing(store):
    answers = iter([True, True, False])

    def fence():
        if not next(answers):
            raise LeaseLost("taken over")

    with pytest.raises(LeaseLost):
        store.publish(ADDRESS, FILES, fence=fence)
    assert not store.has(ADDRESS) and names(store) == []


def test_a_failure_is_remembered_for_everybody(store, elsewhere):
    assert elsewhere.failure(ADDRESS) is None
    store.remember_failure(ADDRESS, "the loss is nan")
    assert elsewhere.failure(ADDRESS) == "the loss is nan" and not elsewhere.has(ADDRESS)
    elsewhere.forget_failure(ADDRESS)
    assert store.failure(ADDRESS) is None
    store.remember_failure(ADDRESS, "the loss is nan")
    store.publish(ADDRESS, FILES)
    store.remember_failure(ADDRESS, "too late")
    assert store.failure(ADDRESS) is None


def test_all_of_an_address_can_be_dropped(store):
    store.publish(ADDRESS, FILES)
    store.remember_failure("unet/1", "it failed")
    assert set(store.files()) == {ADDRESS, "unet/1"}
    store.drop(ADDRESS)
    store.drop(ADDRESS)
    assert set(store.files()) == {"unet/1"} and not store.has(ADDRESS)
