"""The object store on pyarrow's local filesystem and on S3, as moto's server plays it."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from pyarrow.fs import FileSystem

from dehazing.pipeline import checkpoint
from dehazing.pipeline.execute import execute, executing
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.lease import LeaseLost, Owner, holder, lease, leases
from dehazing.pipeline.object_store import ObjectStore
from dehazing.pipeline.store import Damaged, Unwritable, open_store
from tests import tiny_series

ROOT = Path(__file__).resolve().parent.parent
ADDRESS = "hvae/0123456789abcdef"
FILES = {"weights.safetensors": b"w" * 100, "metrics.json": b"{}", "figures/loss.csv": b"1,2"}
ELSEWHERE = {"host": "elsewhere", "pid": 1, "started_s": 0.0}
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
}
SETTLE_S = {"file": 0.3, "s3": 2.0}  # S3's clock has whole seconds
HAS_MOTO = importlib.util.find_spec("moto") is not None

WORKER = """
import sys, time
from pathlib import Path
from dehazing.pipeline.lease import lease
from dehazing.pipeline.object_store import ObjectStore
store, address, log = ObjectStore(sys.argv[1], sys.argv[5], float(sys.argv[6])), sys.argv[2], Path(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
with lease(store, address, poll_s=0.05) as held:
    if not store.has(address):
        with log.open("a") as file:
            file.write("executed\\n")
        print("working", flush=True)
        time.sleep(float(sys.argv[4]))
        store.publish(address, {"a": b"made"}, fence=held.check)
print("done", store.has(address), held.number, flush=True)
"""


@pytest.fixture(scope="module")
def s3():
    """The URI of a bucket, with a place left for a folder in it."""
    if not HAS_MOTO:
        pytest.skip("moto plays S3; `pip install -c constraints.txt -e '.[dev]'` installs it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with pytest.MonkeyPatch.context() as patch:
        for key, value in CREDENTIALS.items():
            patch.setenv(key, value)
        server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait_for(f"http://127.0.0.1:{port}/moto-api/data.json", server)
            options = f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
            FileSystem.from_uri(f"s3://bucket/?{options}&allow_bucket_creation=true")[0].create_dir("bucket")
            yield f"s3://bucket/{{folder}}?{options}"
        finally:
            server.kill()
            server.wait()


def _wait_for(url, server):
    deadline = time.monotonic() + 60
    while True:
        try:
            return urllib.request.urlopen(url, timeout=1).read()
        except OSError:
            assert server.poll() is None and time.monotonic() < deadline, "moto's server does not answer"
            time.sleep(0.1)


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.slow)])
def scheme(request):
    return request.param


@pytest.fixture
def place(scheme, tmp_path, request):
    if scheme == "file":
        return (tmp_path / "objects").as_uri()
    return request.getfixturevalue("s3").format(folder=tmp_path.name)


@pytest.fixture
def store(place, scheme, tmp_path):
    return ObjectStore(place, tmp_path / "cache", SETTLE_S[scheme])


@pytest.fixture
def elsewhere(place, scheme, tmp_path):
    """The same store as another machine sees it."""
    return ObjectStore(place, tmp_path / "cache elsewhere", SETTLE_S[scheme])


def names(store):
    return sorted(store.files().get(ADDRESS, {}))


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


def test_a_checkpoint_is_gone_on_from_elsewhere(store, elsewhere):
    for epoch in (1, 2, 3):
        checkpoint.save(store.partial(ADDRESS), {"epoch": epoch}, epoch)
        store.save_partial(ADDRESS)
    assert [name[8:20] for name in names(store)] == ["epoch-000002", "epoch-000003"]
    assert checkpoint.latest(elsewhere.partial(ADDRESS)) == {"epoch": 3}
    checkpoint.save(elsewhere.partial(ADDRESS), {"epoch": 4}, 4)
    elsewhere.save_partial(ADDRESS)
    assert checkpoint.latest(store.partial(ADDRESS)) == {"epoch": 4}
    checkpoint.save(store.partial(ADDRESS), {"epoch": 5}, 5)  # not in the store yet: newer than what is
    assert checkpoint.latest(store.partial(ADDRESS)) == {"epoch": 5}
    store.clear_partial(ADDRESS)
    assert names(store) == [] and not (store.root / "stages" / ADDRESS / "partial").exists()


def test_a_damaged_checkpoint_does_not_outlive_a_new_beginning(store, elsewhere):
    checkpoint.save(store.partial(ADDRESS), {"epoch": 7}, 7)
    store.save_partial(ADDRESS)
    (name,) = names(store)
    store.objects.put(f"stages/{ADDRESS}/{name}", b"cut")
    assert checkpoint.latest(elsewhere.partial(ADDRESS)) is None
    folder = elsewhere.root / "stages" / ADDRESS / "partial"
    checkpoint.save(folder, {"epoch": 1}, 1)
    elsewhere.save_partial(ADDRESS)
    assert [name[8:20] for name in names(store)] == ["epoch-000001"]


def test_all_of_an_address_can_be_dropped(store):
    store.publish(ADDRESS, FILES)
    store.remember_failure("unet/1", "it failed")
    assert set(store.files()) == {ADDRESS, "unet/1"}
    store.drop(ADDRESS)
    store.drop(ADDRESS)
    assert set(store.files()) == {"unet/1"} and not store.has(ADDRESS)


def test_a_lease_is_held_released_and_its_number_grows(store, elsewhere):
    with lease(store, ADDRESS) as first:
        assert first.number == 1 and holder(elsewhere, ADDRESS) == Owner.myself()
        first.check()
    assert holder(elsewhere, ADDRESS) is None
    with lease(elsewhere, ADDRESS) as second:
        assert second.number == 2
        with pytest.raises(LeaseLost):
            first.check()
        elsewhere.publish(ADDRESS, FILES, fence=second.check)
    assert not [name for name in names(store) if name.startswith("LEASE")]


def test_an_owner_elsewhere_is_replaced_only_when_it_is_silent(store, scheme):
    store.objects.put(f"stages/{ADDRESS}/LEASE-000007-abc", json.dumps(ELSEWHERE).encode())
    assert holder(store, ADDRESS) == Owner(**ELSEWHERE)
    started = time.monotonic()
    with lease(store, ADDRESS, stale_after_s=1.0, poll_s=0.02) as held:
        assert time.monotonic() - started > 0.9 + SETTLE_S[scheme]
        assert held.number == 8
        assert [name for name in names(store) if "LEASE" in name and "beat" not in name] == [held.name]


def test_the_heartbeat_shows(store, scheme):
    beats_s = {"file": 0.3, "s3": 1.2}[scheme]
    with lease(store, ADDRESS, stale_after_s=6 * beats_s) as held:
        before = held.claims.look().touched_ns
        time.sleep(2.5 * beats_s)
        assert held.claims.look().touched_ns != before


def test_an_earlier_claim_of_the_same_number_holds(store, scheme):
    store.objects.put(f"stages/{ADDRESS}/LEASE-000001-zzz", json.dumps(ELSEWHERE).encode())
    time.sleep(1.1 if scheme == "s3" else 0.0)
    claims = store.claims(ADDRESS)
    ours = claims.take(1)  # it listed before the other had written
    assert not claims.holds(ours) and claims.look().owner == Owner(**ELSEWHERE)
    claims.withdraw(ours)
    assert names(store) == ["LEASE-000001-zzz"]


def test_several_leases_take_the_time_of_one(store, elsewhere, scheme):
    addresses = [f"iterative/{number}" for number in range(8)]
    started = time.monotonic()
    with leases(store, addresses) as held:
        assert time.monotonic() - started < 2.5 * SETTLE_S[scheme]
        assert list(held) == addresses
        for address in addresses:
            assert holder(elsewhere, address) == Owner.myself()
            held[address].check()
    assert all(holder(elsewhere, address) is None for address in addresses)


@pytest.mark.slow
def test_of_several_processes_one_works_and_the_others_find_it_done(store, scheme, tmp_path):
    processes = []
    for index in range(3):
        arguments = [store.place, ADDRESS, tmp_path / "log", 0.5, tmp_path / f"cache {index}", SETTLE_S[scheme]]
        words = [sys.executable, "-c", WORKER, *map(str, arguments)]
        processes.append(subprocess.Popen(words, stdin=-1, stdout=-1, text=True, cwd=ROOT))
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        ends = [process.communicate(timeout=60)[0].splitlines()[-1] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert (tmp_path / "log").read_text() == "executed\n"
    assert all(end.startswith("done True") for end in ends)
    assert [name.rpartition("/")[2] for name in names(store)] == ["a", "manifest.json"]


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


@pytest.mark.slow
def test_a_stage_that_was_interrupted_is_gone_on_with_elsewhere(store, elsewhere, tmp_path):
    alone = tiny_series.publish(tmp_path / "alone")
    place = alone.folder(f"series/{tiny_series.NAME}")
    paths = {p.relative_to(place).as_posix(): p for p in place.rglob("*") if p.is_file() and p.name != "manifest.json"}
    store.publish(f"series/{tiny_series.NAME}", paths)
    settings = {"base": 4, "depth": 2, "patch_px": 32, "batch_size": 2, "num_epochs": 3, "steps_per_epoch": 1}
    execution = Execution("unet", settings, tiny_series.NAME, 0)
    begun = executing(execution, store, checkpoint_every_s=0.0)
    assert [next(begun)["epoch"], next(begun)["epoch"]] == [1, 2]
    begun.close()
    assert [metrics["epoch"] for metrics in executing(execution, elsewhere)] == [3]
    execute(execution, alone)
    assert elsewhere.read(execution.address, "weights.safetensors") == alone.read(
        execution.address, "weights.safetensors"
    )
    assert not [name for name in store.files()[execution.address] if name.startswith(("partial", "LEASE"))]
