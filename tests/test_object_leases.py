"""Leases in the object store: one holder at a time, whichever machine and process it is on."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dehazing.pipeline.lease import LeaseLost, Owner, holder, lease, leases
from tests.object_places import ADDRESS, ELSEWHERE, FILES, SETTLE_S, names

ROOT = Path(__file__).resolve().parent.parent

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
