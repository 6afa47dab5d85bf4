"""Whatever dies on the way to MLflow, a driver, the delivering process or the server: nothing doubled, nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest

from dehazing.pipeline.lease import Owner
from studies.tracking.ledger import Ledger, folder_of
from studies.tracking.spool import STALE_AFTER_S, Spool
from studies.tracking.tracker import Run, is_needed
from tests.mlflow_server import Server
from tests.tracked import DATA, REPOSITORY, client_of, points, runs, tracking

pytestmark = pytest.mark.slow


@contextmanager
def served(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server(root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    try:
        yield server
    finally:
        server.kill()


def test_a_run_that_was_deleted_is_made_again(root: Path) -> None:
    tracker = tracking(root)
    tracker.start(Run("unet", "unet"))
    tracker.start(Run("unet/0", "unet 0", "unet"))
    assert tracker.flush()
    client_of(root).delete_run(tracker.run_id("unet/0"))  # while it is open
    tracker.log("unet/0", {"val/psnr": 20.0}, step=1)
    tracker.end("unet/0", "FINISHED")
    tracker.end("unet", "FINISHED")
    assert tracker.close() == ""
    run = runs(root)["unet 0"]
    assert points(root, run, "val/psnr") == [(1, 20.0)] and run.info.status == "FINISHED"
    client_of(root).delete_run(tracker.run_id("unet"))  # between two runs
    again = tracking(root)
    again.start(Run("unet", "unet"))
    again.end("unet", "FINISHED")
    assert again.close() == ""
    assert runs(root).keys() == {"unet", "unet 0"}


def test_orphans_of_a_killed_driver_are_closed_at_start(root: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from studies.tracking.tracker import Data, Run, Tracker;"
        "tracker = Tracker(Path(sys.argv[1]), 'lines-smoke', {}, Data('lines', 'abc', 'lines.yaml'));"
        "tracker.start(Run('unet/0', 'unet 0')); assert tracker.flush(); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", script, str(root)], cwd=REPOSITORY, check=False)
    assert runs(root)["unet 0"].info.status == "RUNNING"
    assert is_needed(root, "lines-smoke")
    tracking(root).close()
    assert runs(root)["unet 0"].info.status == "KILLED"
    assert not is_needed(root, "lines-smoke")


def test_what_is_refused_does_not_block_what_follows(root: Path) -> None:
    tracker = tracking(root)
    tracker.start(Run("unet/0", "unet 0", config={"when": Path("x"), ("a", 1): 2}))  # no JSON
    tracker.start(Run("unet/1", "unet 1"))
    tracker.log("unet/1", {f"m/{i}": float(i) for i in range(300)} | {"not allowed: *": 1.0}, step=1)
    tracker.artifacts("unet/1", root / "absent", "report")
    tracker.end("unet/1", "FINISHED")
    assert "misses 3 entries" in tracker.close() and tracker.num_lost == 3 and tracker.problem
    run = runs(root)["unet 1"]
    assert len(run.data.metrics) == 300 and run.info.status == "FINISHED"


OLD_BOX = {"host": "oldbox", "pid": 77, "started_s": 1700000000.0}


def left_by_another_host(root: Path, *records: dict[str, Any]) -> None:
    """A segment of a host that has been silent for long."""
    folder, writer = folder_of(root, "lines-smoke"), "oldbox-77-1700000000000-abcdef01"
    folder.mkdir(parents=True, exist_ok=True)
    segment, sign = folder / f"spool-{writer}-00000001.jsonl", folder / f"writer-{writer}"
    segment.write_text("".join(json.dumps({"owner": OLD_BOX, **record}) + "\n" for record in records))
    sign.touch()
    for path in (segment, sign):
        os.utime(path, (time.time() - STALE_AFTER_S - 60,) * 2)


def started(key: str, at_ms: int) -> dict[str, Any]:
    nothing: dict[str, Any] = {"params": {}, "config": None, "texts": {}, "parent": None, "data": vars(DATA)}
    return {"op": "start", "key": key, "name": key, "tags": {"git_commit": "0ld"}, "at_ms": at_ms, **nothing}


def test_what_was_finished_after_a_segment_was_written_stays_finished_when_that_is_delivered(root: Path) -> None:
    before_ms = int(time.time() * 1000) - 60_000  # so long that a clock that is set meanwhile changes nothing
    tracker = tracking(root)
    for key, status in (("unet", "FINISHED"), ("unet/0", "FINISHED"), ("unet/1", "FAILED"), ("unet/2", "FINISHED")):
        tracker.start(Run(key, key))
        tracker.log(key, {"val/psnr": 22.0}, step=2)
        tracker.tag(key, "reason", "the later one")
        tracker.end(key, status)
    assert tracker.close() == ""
    left_by_another_host(
        root,
        *(started(key, before_ms) for key in ("unet", "unet/0", "unet/1", "unet/3")),
        *(
            {"op": "log", "key": f"unet/{i}", "metrics": {"val/psnr": 21.0}, "step": 1, "at_ms": before_ms}
            for i in (0, 3)
        ),
        {"op": "end", "key": "unet/1", "status": "KILLED", "at_ms": before_ms},
        {"op": "tag", "key": "unet/2", "name": "reason", "value": "the earlier one", "at_ms": before_ms},
        {"op": "end", "key": "unet/2", "status": "KILLED", "at_ms": before_ms},
    )
    assert is_needed(root, "lines-smoke")
    assert tracking(root).close() == ""
    found = runs(root)
    statuses = {"unet": "FINISHED", "unet/0": "FINISHED", "unet/1": "FAILED", "unet/2": "FINISHED", "unet/3": "KILLED"}
    assert {name: run.info.status for name, run in found.items()} == statuses
    assert {key: Ledger(root, "lines-smoke").status(key) for key in statuses} == statuses
    assert points(root, found["unet/0"], "val/psnr") == [(1, 21.0), (2, 22.0)], "the older metrics are there, too"
    assert {(run.data.tags["git_commit"], run.data.tags.get("reason")) for run in found.values()} == {
        ("c0ffee", "the later one"),
        ("0ld", None),
    }


def test_what_somebody_else_goes_on_with_is_not_closed_by_a_segment_of_before(root: Path) -> None:
    tracker = tracking(root)
    tracker.start(Run("unet/0", "unet 0"))
    tracker.start(Run("unet/1", "unet 1"))
    assert tracker.flush()
    other = psutil.Process(os.getppid())
    living = Owner(Owner.myself().host, other.pid, other.create_time())
    for key, owner in (("unet/0", asdict(living)), ("unet/1", OLD_BOX)):
        client_of(root).set_tag(tracker.run_id(key), "owner", json.dumps(owner))
    now_ms = int(time.time() * 1000)
    left_by_another_host(root, started("unet/0", now_ms), started("unet/1", now_ms))
    assert tracking(root).flush()
    assert {name: run.info.status for name, run in runs(root).items()} == {"unet 0": "RUNNING", "unet 1": "KILLED"}
    assert json.loads(runs(root)["unet 0"].data.tags["owner"]) == asdict(living)
    tracker.close()


def test_what_a_dead_writer_left_is_waited_for_on_a_disk_that_is_slow(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch = Path.touch

    def slow(path: Path) -> None:
        time.sleep(3.0 if path.name.startswith("writer-") else 0.0)  # longer than MLflow takes to answer
        touch(path)

    assert tracking(root).close() == ""  # makes the database, which takes longer
    left_by_another_host(root, started("unet/1", int(time.time() * 1000)))
    monkeypatch.setattr(Path, "touch", slow)
    tracker = tracking(root)
    assert tracker.flush()
    assert {name: run.info.status for name, run in runs(root).items()} == {"unet/1": "KILLED"}
    assert tracker.close() == ""


def test_a_server_that_is_killed_in_the_middle_loses_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(root, monkeypatch) as server:
        server.start()
        server.wait()
        tracker = tracking(root, is_apart=True)
        tracker.start(Run("unet", "unet", texts={"git.patch": "+1\n"}))
        begun_s = time.monotonic()
        num, num_epochs = 12, 20
        for i in range(num):
            key = f"unet/{i}"
            tracker.start(Run(key, f"unet {i}", "unet", params={"lr": i}, config={"lr": i}))
            for epoch in range(num_epochs):
                tracker.log(key, {"val/psnr": i + 0.01 * epoch}, step=epoch)
                time.sleep(0.04)
            tracker.end(key, "FINISHED")
            if i == num // 3:
                server.kill()
            if i == 2 * num // 3:
                threading.Timer(3.0, server.start).start()
        assert tracker.caller_s < 0.01 * (time.monotonic() - begun_s)
        server.wait()
        tracker.end("unet", "FINISHED")
        while not tracker.flush() and time.monotonic() < begun_s + 120:
            time.sleep(0.5)
        assert tracker.close() == ""
    found = runs(root)
    assert len(found) == num + 1 and {run.info.status for run in found.values()} == {"FINISHED"}
    for i in range(num):
        run = found[f"unet {i}"]
        assert points(root, run, "val/psnr") == [(e, i + 0.01 * e) for e in range(num_epochs)]
        assert run.data.params == {"lr": str(i)} and len(run.inputs.dataset_inputs) == 1
        assert run.data.tags["mlflow.parentRunId"] == found["unet"].info.run_id
    assert len(list((root / "served").rglob("config.json"))) == num


def test_a_process_that_dies_while_the_server_is_away_leaves_its_entries_to_the_next(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import os, sys, time; from pathlib import Path; from studies.tracking.tracker import Data, Run, Tracker;"
        "tracker = Tracker(Path(sys.argv[1]), 'lines-smoke', {}, Data('lines', 'abc', 'lines.yaml'));"
        "tracker.start(Run('unet', 'unet')); tracker.start(Run('unet/0', 'unet 0', 'unet', params={'lr': 1}));"
        "[tracker.log('unet/0', {'val/psnr': float(e)}, step=e) for e in range(50)];"
        "assert not tracker.flush(30); os._exit(1)"
    )
    with served(root, monkeypatch) as server:
        done = subprocess.run([sys.executable, "-c", script, str(root)], cwd=REPOSITORY, check=False)
        assert done.returncode == 1 and is_needed(root, "lines-smoke")
        begun_s = time.monotonic()
        tracker = tracking(root)
        tracker.start(Run("unet", "unet"))
        said = tracker.close()  # still away
        assert time.monotonic() - begun_s < 20
        assert "54 entries wait in" in said and "the same command delivers them" in said and tracker.num_lost == 0
        server.start()
        server.wait()
        tracker = tracking(root)
        tracker.start(Run("unet", "unet"))
        tracker.start(Run("unet/0", "unet 0", "unet", params={"lr": 1}))
        tracker.history("unet/0", [{"epoch": e, "val/psnr": float(e)} for e in range(60)], {})
        tracker.end("unet/0", "FINISHED")
        tracker.end("unet", "FINISHED")
        assert tracker.close() == "" and tracker.num_waiting == 0
    found = runs(root)
    assert found.keys() == {"unet", "unet 0"}
    assert points(root, found["unet 0"], "val/psnr") == [(e, float(e)) for e in range(60)]
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert not is_needed(root, "lines-smoke")


def test_a_segment_that_cannot_be_removed_is_delivered_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlink, refused = Path.unlink, []

    def refusing(path: Path, missing_ok: bool = False) -> None:
        if path.name.startswith("spool-") and len(refused) < 2:
            refused.append(path.name)
            raise OSError(5, "Input/output error")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refusing)
    tracker = tracking(root)
    tracker.start(Run("unet/0", "unet 0"))
    tracker.log("unet/0", {"val/psnr": 20.0}, step=1)
    tracker.end("unet/0", "FINISHED")
    deadline_s = time.monotonic() + 60
    while not tracker.flush() and time.monotonic() < deadline_s:
        time.sleep(0.1)
    tracker.start(Run("unet/1", "unet 1"))
    tracker.end("unet/1", "FINISHED")
    assert tracker.close() == "" and len(refused) == 2
    found = runs(root)
    assert points(root, found["unet 0"], "val/psnr") == [(1, 20.0)]
    assert [found[name].info.status for name in ("unet 0", "unet 1")] == ["FINISHED", "FINISHED"]


def test_what_could_not_be_written_in_time_is_not_said_to_wait(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()
    monkeypatch.setattr(Spool, "append", lambda spool, lines: free.wait(60))  # a disk that hangs
    tracker = tracking(root)
    tracker.start(Run("unet/0", "unet 0"))
    tracker.log("unet/0", {"val/psnr": 20.0}, step=1)
    time.sleep(0.5)
    said = tracker.close(timeout_s=1.0)
    free.set()
    assert said.startswith("MLflow misses 2 entries, which could not be written to") and "wait in" not in said


def test_a_database_that_cannot_be_opened_stops_nobody(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "file").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'file' / 'mlflow.db'}")
    tracker = tracking(root)
    begun_s = time.monotonic()
    tracker.start(Run("unet/0", "unet 0"))
    tracker.log("unet/0", {"val/psnr": 20.0}, step=1)
    tracker.end("unet/0", "FINISHED")
    assert time.monotonic() - begun_s < 0.1
    said = tracker.close()
    assert "3 entries wait in" in said and tracker.num_lost == 0
