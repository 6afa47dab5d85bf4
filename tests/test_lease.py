import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dehazing.pipeline import lease as leasing
from dehazing.pipeline.lease import Busy, LeaseLost, Owner, go_on_watching, holder, lease, leases, watched
from dehazing.pipeline.store import Store, Unwritable

ROOT = Path(__file__).resolve().parent.parent
ADDRESS = "unet/0123456789abcdef"
ELSEWHERE = {"host": "elsewhere", "pid": 1, "started_s": 0.0}

WORKER = """
import sys, time
from pathlib import Path
from dehazing.pipeline.lease import lease
from dehazing.pipeline.store import Store, Unwritable
store, address, log = Store(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
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


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


@pytest.fixture
def worker(store, tmp_path):
    processes = []

    def start(seconds):
        arguments = [sys.executable, "-c", WORKER, str(store.root), ADDRESS, str(tmp_path / "log"), str(seconds)]
        process = subprocess.Popen(arguments, stdin=-1, stdout=-1, text=True, cwd=ROOT)
        processes.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def write(store, name, content):
    store.lease_folder(ADDRESS).mkdir(parents=True, exist_ok=True)
    (store.lease_folder(ADDRESS) / name).write_text(content)


def lease_files(store):
    return sorted(path.name for path in (store.root / "stages" / ADDRESS).glob("LEASE*"))


def test_of_two_processes_one_works_and_the_other_finds_it_done(store, worker, tmp_path):
    both = [worker(0.3), worker(0.3)]
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    ends = [process.communicate(timeout=20)[0].splitlines()[-1] for process in both]
    assert (tmp_path / "log").read_text() == "executed\n"
    assert all(end.startswith("done True") for end in ends)
    assert lease_files(store) == []


def test_a_killed_owner_is_replaced_at_once_under_a_higher_number(store, worker):
    process = worker(60)
    process.stdin.write("go\n")
    process.stdin.flush()
    assert process.stdout.readline() == "working\n"
    assert holder(store, ADDRESS).pid == process.pid
    process.kill()
    process.wait()
    assert holder(store, ADDRESS) is None
    started = time.monotonic()
    with lease(store, ADDRESS) as held:
        assert time.monotonic() - started < 5
        assert held.number == 2 and lease_files(store) == ["LEASE-000002"]


def test_a_released_lease_is_free_and_its_number_grows(store):
    with lease(store, ADDRESS) as first:
        assert first.number == 1 and holder(store, ADDRESS) == Owner.myself()
    assert holder(store, ADDRESS) is None
    with lease(store, ADDRESS) as second:
        assert second.number == 2


def test_an_owner_elsewhere_is_replaced_only_when_it_is_silent(store):
    write(store, "LEASE-000007", json.dumps(ELSEWHERE))
    started = time.monotonic()
    with lease(store, ADDRESS, stale_after_s=0.3, poll_s=0.02) as held:
        assert time.monotonic() - started > 0.3
        assert held.number == 8


def test_an_owner_that_was_taken_for_dead_must_not_publish(store):
    with lease(store, ADDRESS) as stalled:
        stalled.check()
        # what another host does once it has heard nothing for too long
        with lease(store, ADDRESS, stale_after_s=0.05, poll_s=0.01) as taker:
            assert taker.number == stalled.number + 1
            with pytest.raises(LeaseLost):
                store.publish(ADDRESS, {"a": b"stale"}, fence=stalled.check)
            store.publish(ADDRESS, {"a": b"fresh"}, fence=taker.check)
    assert (store.folder(ADDRESS) / "a").read_bytes() == b"fresh"


def test_the_heartbeat_keeps_a_lease(store):
    with lease(store, ADDRESS, stale_after_s=0.3):
        path = store.lease_folder(ADDRESS) / "LEASE-000001"
        before = path.stat().st_mtime_ns
        time.sleep(0.2)
        assert path.stat().st_mtime_ns > before


def test_a_lease_is_released_when_the_work_raises(store):
    with pytest.raises(FloatingPointError), lease(store, ADDRESS):
        raise FloatingPointError
    assert holder(store, ADDRESS) is None


@pytest.mark.parametrize("word", ["da542944", "12345678", ""])
def test_a_process_is_known_from_a_file_that_has_its_name(word):
    me = Owner("a-host", 12, 1795408697.86)
    assert Owner.named(f"{me.name}-{word}") == me
    assert Owner.named("notes") is None and Owner.named("a-b-c-d") is None


def test_a_reused_process_number_is_not_the_owner():
    me = Owner.myself()
    assert not me.is_gone()
    assert Owner(socket.gethostname(), os.getpid(), me.started_s - 100).is_gone()
    assert not Owner("elsewhere", 1, 0.0).is_gone()


def test_a_lease_cut_off_while_it_was_written_is_waited_for_and_replaced(store):
    write(store, "LEASE-000001", "")
    with lease(store, ADDRESS, stale_after_s=0.2, poll_s=0.02) as held:
        assert held.number == 2


def test_a_look_at_the_holder_writes_nothing(store):
    assert holder(store, ADDRESS) is None
    assert not store.root.exists()
    write(store, "LEASE-000003-released", json.dumps(ELSEWHERE))
    assert holder(store, ADDRESS) is None and lease_files(store) == ["LEASE-000003-released"]


def test_a_silent_owner_elsewhere_is_no_holder_for_whoever_watched(store):
    write(store, "LEASE-000001", json.dumps(ELSEWHERE))
    assert holder(store, ADDRESS, stale_after_s=0.2) == Owner(**ELSEWHERE)
    time.sleep(0.3)
    assert holder(store, ADDRESS, stale_after_s=0.2) is None
    os.utime(store.lease_folder(ADDRESS) / "LEASE-000001")
    assert holder(store, ADDRESS, stale_after_s=0.2) == Owner(**ELSEWHERE)


def test_a_lease_cut_off_while_it_was_written_has_a_holder_until_it_was_silent(store):
    write(store, "LEASE-000001", "")
    assert holder(store, ADDRESS, stale_after_s=0.2) is not None
    time.sleep(0.3)
    assert holder(store, ADDRESS, stale_after_s=0.2) is None


def test_the_silence_that_another_process_watched_is_not_waited_for_again(store, monkeypatch):
    write(store, "LEASE-000001", json.dumps(ELSEWHERE))
    holder(store, ADDRESS)
    time.sleep(0.3)
    seen = watched(store, ADDRESS)
    monkeypatch.setattr(leasing, "_seen", {})  # another process has seen nothing
    with pytest.raises(Busy), lease(store, ADDRESS, stale_after_s=0.2, wait_s=0.0):
        pass
    go_on_watching(store, ADDRESS, json.loads(json.dumps(seen)))
    with lease(store, ADDRESS, stale_after_s=0.2, wait_s=0.0) as held:
        assert held.number == 2
    write(store, "LEASE-000003", json.dumps(ELSEWHERE))
    go_on_watching(store, ADDRESS, seen)  # of a lease before this one: it counts for nothing
    with pytest.raises(Busy), lease(store, ADDRESS, stale_after_s=0.2, wait_s=0.0):
        pass


def test_several_are_waited_for_in_one_order(store):
    addresses = [f"iterative/{number}" for number in range(6)]
    log, both = [], threading.Barrier(2)

    def work(mine, name):
        both.wait()
        for _ in range(5):
            with leases(store, mine, poll_s=0.01) as held:
                assert list(held) == sorted(mine)
                log.append(name)
                time.sleep(0.01)
                log.append(name)

    threads = [
        threading.Thread(target=work, args=(addresses, "a")),
        threading.Thread(target=work, args=(addresses[::-1][:4], "b")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(log) == 20 and log[::2] == log[1::2]  # never both at once


def test_of_several_those_after_one_that_is_taken_stay_free_for_others(store):
    started = threading.Event()
    with lease(store, "iterative/1"):

        def wait():
            started.set()
            with leases(store, ["iterative/0", "iterative/1", "iterative/2"], poll_s=0.01):
                pass

        thread = threading.Thread(target=wait)
        thread.start()
        assert started.wait(5)
        time.sleep(0.2)
        assert holder(store, "iterative/0") and holder(store, "iterative/2") is None
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_a_claim_that_a_full_disk_cut_off_is_not_waited_for(store, monkeypatch):
    def full(owner):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("dehazing.pipeline.claims.written", full)
        with pytest.raises(Unwritable, match="No space left on device"), lease(store, ADDRESS):
            pytest.fail("it holds")
    started = time.monotonic()
    with lease(store, ADDRESS) as held:
        assert held.number == 1 and time.monotonic() - started < 5
