"""Where an object store can be: a place opens the same store everywhere, and one that cannot is one sentence."""

import pytest

from dehazing.pipeline.object_store import ObjectStore
from dehazing.pipeline.store import Unwritable, open_store
from tests.object_places import ADDRESS, FILES


def test_a_place_opens_the_same_store(place, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user cache"))
    store = open_store(place)
    store.publish(ADDRESS, FILES)
    again = open_store(store.place)
    assert again.has(ADDRESS) and again.folder(ADDRESS).is_relative_to(tmp_path / "user cache")
    assert "?" not in again.name


def test_a_store_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    store = ObjectStore((tmp_path / "file" / "below").as_uri(), tmp_path / "cache")
    for write in (
        store.check_writable,
        lambda: store.publish(ADDRESS, FILES),
        lambda: store.remember_failure(ADDRESS, ""),
    ):
        with pytest.raises(Unwritable, match=r"The store file://.* must be reachable and writable"):
            write()


@pytest.mark.slow
def test_a_missing_bucket_and_a_server_that_is_away_are_one_sentence(s3, tmp_path):
    missing = ObjectStore(s3.format(folder="x").replace("//bucket", "//other"), tmp_path / "cache")
    with pytest.raises(Unwritable, match=r"s3://other/x must be reachable and writable, but is not: .*bucket"):
        missing.check_writable()
    away = ObjectStore("s3://bucket/x?endpoint_override=127.0.0.1:9&scheme=http&region=us-east-1", tmp_path / "cache")
    with pytest.raises(Unwritable, match="s3://bucket/x must be reachable"):
        away.has(ADDRESS)


@pytest.mark.parametrize("place", ["foo://bucket", "s3://", "s3://bucket?nonsense=1&region=us-east-1"])
def test_a_place_that_is_none_is_refused(place):
    with pytest.raises(ValueError, match=r"must (be a folder or an address|name a bucket)"):
        open_store(place)
