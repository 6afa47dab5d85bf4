"""MLflow as it is, on SQLite and behind a server: nothing doubled, nothing lost, and no caller ever waits."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from studies.tracking import spooling
from studies.tracking.spool import Spool
from studies.tracking.tracker import Data, Run, Tracker, is_needed
from tests.mlflow_server import Server

pytestmark = pytest.mark.slow

DATA = Data("lines", "abc", "lines.yaml")
REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database whose tables are made: making them takes seconds."""
    root = tmp_path_factory.mktemp("template")
    assert Tracker(root, "first", {}, DATA, is_apart=False).close() == ""
    return root / "mlflow.db"


@pytest.fixture()
def root(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(template, tmp_path / "mlflow.db")
    return tmp_path


def client_of(root: Path) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(f"sqlite:///{root / 'mlflow.db'}")


def all_runs(root: Path) -> list[Any]:
    client = client_of(root)
    found = client.get_experiment_by_name("lines-smoke")
    return [] if found is None else list(client.search_runs([found.experiment_id], max_results=1000))


def runs(root: Path) -> dict[str, Any]:
    """Name → run; no name may be there twice."""
    found = all_runs(root)
    assert len({run.info.run_name for run in found}) == len(found), "a run was doubled"
    return {run.info.run_name: run for run in found}


def points(root: Path, run: Any, metric: str) -> list[tuple[int, float]]:
    return sorted((p.step, p.value) for p in client_of(root).get_metric_history(run.info.run_id, metric))


def tracking(root: Path, is_apart: bool = False) -> Tracker:
    return Tracker(root, "lines-smoke", {"git_commit": "c0ffee"}, DATA, is_apart=is_apart)


def test_runs_are_nested_and_carry_what_was_told(root: Path) -> None:
    tracker = tracking(root)
    tracker.start(Run("study", "degrader", tags={"stage": "degrader"}, texts={"git.patch": "+ψ\n"}))
    config = {"lr": 0.1, "x": "y" * 9000}
    tracker.start(Run("study/0", "degrader 0", "study", {"fingerprint": "f00"}, {"lr": 0.1}, config))
    for epoch in (1, 2, 3):
        tracker.log("study/0", {"val/psnr": 20.0 + epoch, "train/loss": float("nan"), "finished": False}, step=epoch)
    tracker.end("study/0", "FINISHED")
    tracker.end("study", "FINISHED")
    assert tracker.flush() and tracker.num_waiting == 0
    found = runs(root)
    trial, study = found["degrader 0"], found["degrader"]
    assert tracker.run_id("study/0") == trial.info.run_id and tracker.run_id("study/1") is None
    assert tracker.close() == ""
    assert trial.data.tags["mlflow.parentRunId"] == study.info.run_id
    assert trial.data.tags["fingerprint"] == "f00" and trial.data.tags["git_commit"] == "c0ffee"
    assert trial.data.params == {"lr": "0.1"}
    assert trial.data.metrics["val/psnr"] == 23.0 and "finished" not in trial.data.metrics
    assert [trial.info.status, study.info.status] == ["FINISHED", "FINISHED"]
    assert [given.dataset.digest for given in trial.inputs.dataset_inputs] == ["abc"]
    (artifact,) = (root / "mlartifacts").rglob("config.json")
    assert json.loads(artifact.read_text()) == config, "nothing is cut"
    (patch,) = (root / "mlartifacts").rglob("git.patch")
    assert patch.read_text() == "+ψ\n"
    assert points(root, trial, "val/psnr") == [(1, 21.0), (2, 22.0), (3, 23.0)]
    assert not is_needed(root, "lines-smoke")


def test_what_is_left_open_is_closed_as_killed_and_goes_on_by_its_key(root: Path) -> None:
    first = tracking(root)
    first.start(Run("unet/0", "unet 0", params={"lr": 1}))
    for epoch in (1, 2):
        first.log("unet/0", {"val/psnr": 20.0 + epoch}, step=epoch)
    first.close()
    assert runs(root)["unet 0"].info.status == "KILLED"
    again = tracking(root)
    again.start(Run("unet/0", "unet 0", params={"lr": 1, "depth": 2}))
    for epoch in (2, 3):  # from the last checkpoint
        again.log("unet/0", {"val/psnr": 20.0 + epoch}, step=epoch)
    again.end("unet/0", "FINISHED")
    assert again.close() == ""
    run = runs(root)["unet 0"]
    assert run.info.status == "FINISHED" and run.data.params == {"lr": "1", "depth": "2"}
    assert points(root, run, "val/psnr") == [(1, 21.0), (2, 22.0), (3, 23.0)]


def test_the_history_brings_what_is_missing_alone(root: Path) -> None:
    epochs = [{"epoch": e, "val/psnr": 20.0 + e, "train/loss": 1.0 / e, "seconds": 3} for e in (1, 2, 3)]
    first = tracking(root)
    first.start(Run("unet/0", "unet 0"))
    first.log("unet/0", {"val/psnr": 21.0}, step=1)
    first.history("unet/0", epochs, {"val/psnr": 22.5})
    first.end("unet/0", "FINISHED")
    first.close()
    again = tracking(root)
    again.start(Run("unet/0", "unet 0"))
    again.history("unet/0", [*epochs, {"epoch": 4, "val/psnr": 24.0}], {"val/psnr": 24.0, "test/psnr": 19.0})
    again.end("unet/0", "FINISHED")
    assert again.close() == ""
    run = runs(root)["unet 0"]
    assert points(root, run, "val/psnr") == [(1, 21.0), (2, 22.0), (3, 22.5), (3, 23.0), (4, 24.0)]
    assert points(root, run, "train/loss") == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert run.data.metrics["test/psnr"] == 19.0 and "seconds" not in run.data.metrics


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


def test_runs_are_found_without_the_ledger(root: Path) -> None:
    first = tracking(root)
    first.start(Run("unet/0", "unet 0"))
    first.close()
    (root / "lines-smoke" / "mlflow" / "runs.jsonl").unlink()
    again = tracking(root)
    again.start(Run("unet/0", "unet 0"))
    again.start(Run("unet/1", "unet 1"))
    assert again.close() == ""
    assert runs(root).keys() == {"unet 0", "unet 1"}


def test_another_database_gets_runs_of_its_own(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "other").mkdir()
    shutil.copy(root / "mlflow.db", root / "other" / "mlflow.db")
    first = tracking(root)
    first.start(Run("unet/0", "unet 0"))
    first.close()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'other' / 'mlflow.db'}")
    monkeypatch.chdir(root / "other")  # where artifacts go by default
    again = tracking(root)
    again.start(Run("unet/0", "unet 0"))
    assert again.run_id("unet/0") is None
    assert again.close() == ""
    assert runs(root).keys() == runs(root / "other").keys() == {"unet 0"}


def test_results_folders_on_one_server_have_runs_of_their_own(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
    monkeypatch.chdir(root)  # where artifacts go by default
    first = tracking(root / "a")
    first.start(Run("unet/0", "of a"))
    assert first.flush()
    second = tracking(root / "b")
    second.start(Run("unet/0", "of b"))
    second.log("unet/0", {"val/psnr": 21.0}, step=1)
    second.end("unet/0", "FINISHED")
    assert second.close() == ""
    assert runs(root)["of a"].info.status == "RUNNING", "another's process goes on"
    first.log("unet/0", {"val/psnr": 20.0}, step=1)
    first.end("unet/0", "FINISHED")
    assert first.close() == ""
    ids = {name: run.info.run_id for name, run in runs(root).items()}
    (root / "a").rename(root / "moved")
    (root / "moved" / "lines-smoke" / "mlflow" / "runs.jsonl").unlink()
    again = tracking(root / "moved")
    again.start(Run("unet/0", "of a"))
    assert again.flush() and again.run_id("unet/0") == ids["of a"]
    assert again.close() == ""
    found = runs(root)
    assert {name: run.info.run_id for name, run in found.items()} == ids and found.keys() == {"of a", "of b"}
    assert [points(root, found[name], "val/psnr") for name in ("of a", "of b")] == [[(1, 20.0)], [(1, 21.0)]]


def test_a_number_without_bound_is_told_once(root: Path) -> None:
    inf, most = float("inf"), sys.float_info.max
    for _ in range(2):
        tracker = tracking(root)
        tracker.start(Run("unet/0", "unet 0"))
        tracker.log("unet/0", {"val/psnr": inf, "val/nan": float("nan")}, step=1)
        tracker.history("unet/0", [{"epoch": 1, "val/psnr": inf, "val/low": -inf}], {"val/psnr": inf, "val/low": -inf})
        tracker.end("unet/0", "FINISHED")
        assert tracker.close() == ""
    run = runs(root)["unet 0"]
    assert points(root, run, "val/psnr") == [(1, most)] and points(root, run, "val/low") == [(1, -most)]


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


def test_the_figures_of_the_machine_are_logged_while_a_run_that_asks_is_open(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spooling, "SAMPLE_S", 0.2)
    tracker = tracking(root)
    tracker.start(Run("unet", "unet", system=True))
    tracker.start(Run("unet/0", "unet 0", "unet"))
    time.sleep(3.0)
    tracker.close()
    found = runs(root)
    assert {"system/cpu_utilization_percentage", "system/disk_usage_percentage"} <= set(found["unet"].data.metrics)
    assert not found["unet 0"].data.metrics


def test_a_full_batch_and_many_trials_cost_their_callers_little(root: Path) -> None:
    tracker = tracking(root)
    tracker.start(Run("random", "random"))
    num = 60
    begun_s = time.perf_counter()
    for i in range(num):
        key = f"random/{i}"
        tracker.start(Run(key, key, "random", {"fingerprint": str(i)}, {"lr": 0.1 * i}, {"lr": 0.1 * i}))
        for epoch in range(5):
            tracker.log(key, {"val/psnr": 20.0 + epoch, "train/loss": 0.1}, step=epoch)
        tracker.end(key, "FINISHED")
    seconds = time.perf_counter() - begun_s
    assert seconds / (7 * num) < 1e-3 and tracker.caller_s <= seconds
    tracker.end("random", "FINISHED")
    assert tracker.close(timeout_s=300) == ""
    found = runs(root)
    assert len(found) == num + 1 and {run.info.status for run in found.values()} == {"FINISHED"}
    assert points(root, found["random/7"], "val/psnr") == [(e, 20.0 + e) for e in range(5)]


def test_a_delivering_process_that_is_killed_is_started_again(root: Path) -> None:
    import psutil

    tracker = tracking(root, is_apart=True)
    tracker.start(Run("unet", "unet"))
    assert tracker.flush()
    for i in range(30):
        key = f"unet/{i}"
        tracker.start(Run(key, f"unet {i}", "unet", params={"lr": i}))
        tracker.log(key, {"val/psnr": 1.0 * i}, step=1)
        tracker.end(key, "FINISHED")
    time.sleep(1.5)  # in the middle of them
    (child,) = [c for c in psutil.Process().children() if "studies.tracking.delivering" in c.cmdline()]
    child.kill()
    tracker.end("unet", "FINISHED")
    while tracker.num_waiting:
        tracker.flush()
    assert tracker.close() == ""
    assert not [c for c in psutil.Process().children() if "studies.tracking.delivering" in c.cmdline()]
    found = runs(root)
    assert len(found) == 31 and {run.info.status for run in found.values()} == {"FINISHED"}
    assert all(points(root, found[f"unet {i}"], "val/psnr") == [(1, float(i))] for i in range(30))


# ---- behind a server


@contextmanager
def served(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server(root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    try:
        yield server
    finally:
        server.kill()


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
