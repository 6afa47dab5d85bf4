"""MLflow as it is, on SQLite: nested runs, batches, states, orphans; and a server that is not there harms nobody."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from studies.tracker import Data, Run, Tracker

pytestmark = pytest.mark.slow

DATA = Data("lines", "abc", "lines.yaml")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database whose tables are made: making them takes seconds."""
    root = tmp_path_factory.mktemp("template")
    Tracker(root, "first", {}, DATA).close()
    return root / "mlflow.db"


@pytest.fixture()
def root(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(template, tmp_path / "mlflow.db")
    return tmp_path


def runs(root: Path, experiment: str = "lines-smoke") -> dict[str, object]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return {run.info.run_name: run for run in client.search_runs([found.experiment_id])}


def test_runs_are_nested_and_carry_what_was_told(root: Path) -> None:
    ids: list[str] = []
    tracker = Tracker(root, "lines-smoke", {"git_commit": "c0ffee"}, DATA)
    tracker.start(Run("study", "degrader", tags={"stage": "degrader"}))
    tracker.start(
        Run(
            "trial",
            "degrader 0",
            "study",
            {"fingerprint": "f00"},
            {"lr": 0.1},
            {"lr": 0.1, "x": "y" * 9000},
            None,
            ids.append,
        )
    )
    for epoch in (1, 2, 3):
        tracker.log("trial", {"val/psnr": 20.0 + epoch, "train/loss": float("nan"), "finished": False}, step=epoch)
    tracker.end("trial", "FINISHED")
    tracker.end("study", "FINISHED")
    tracker.close()
    assert tracker.num_lost == 0, tracker.problem
    found = runs(root)
    trial, study = found["degrader 0"], found["degrader"]
    assert trial.data.tags["mlflow.parentRunId"] == study.info.run_id
    assert trial.data.tags["fingerprint"] == "f00" and trial.data.tags["git_commit"] == "c0ffee"
    assert trial.data.params == {"lr": "0.1"}
    assert trial.data.metrics["val/psnr"] == 23.0 and "finished" not in trial.data.metrics
    assert [trial.info.status, study.info.status] == ["FINISHED", "FINISHED"]
    assert [given.dataset.digest for given in trial.inputs.dataset_inputs] == ["abc"]
    assert ids == [trial.info.run_id]
    (artifact,) = (root / "mlartifacts").rglob("config.json")
    assert len(json.loads(artifact.read_text())["x"]) == 9000, "nothing is cut"

    from mlflow.tracking import MlflowClient

    history = MlflowClient(f"sqlite:///{root / 'mlflow.db'}").get_metric_history(trial.info.run_id, "val/psnr")
    assert [(metric.step, metric.value) for metric in history] == [(1, 21.0), (2, 22.0), (3, 23.0)]


def test_what_is_left_open_is_closed_as_killed_and_can_go_on(root: Path) -> None:
    ids: list[str] = []
    tracker = Tracker(root, "lines-smoke", {}, DATA)
    tracker.start(Run("trial", "unet 0", on_id=ids.append))
    tracker.log("trial", {"val/psnr": 20.0}, step=1)
    tracker.close()
    assert runs(root)["unet 0"].info.status == "KILLED"
    again = Tracker(root, "lines-smoke", {}, DATA)
    again.start(Run("trial", "unet 0", run_id=ids[0]))
    again.log("trial", {"val/psnr": 21.0}, step=2)
    again.end("trial", "FINISHED")
    again.close()
    found = runs(root)
    assert len(found) == 1 and found["unet 0"].info.status == "FINISHED"
    assert found["unet 0"].data.metrics["val/psnr"] == 21.0


def test_a_run_that_the_database_lost_is_made_anew(root: Path) -> None:
    ids: list[str] = []
    tracker = Tracker(root, "lines-smoke", {}, DATA)
    tracker.start(Run("study", "unet", run_id="0" * 32, on_id=ids.append))
    tracker.start(Run("trial", "unet 0", "study"))
    tracker.end("trial", "FINISHED")
    tracker.close()
    assert tracker.num_lost == 0, tracker.problem
    assert ids == [runs(root)["unet"].info.run_id]


def test_orphans_of_a_killed_driver_are_closed_at_start(root: Path) -> None:
    tracker = Tracker(root, "lines-smoke", {}, DATA)
    tracker.start(Run("trial", "unet 0"))
    deadline = time.monotonic() + 30
    while not tracker._queue.empty() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    assert runs(root)["unet 0"].info.status == "RUNNING"  # the first tracker is never closed
    Tracker(root, "lines-smoke", {}, DATA).close()
    assert runs(root)["unet 0"].info.status == "KILLED"


def test_a_server_that_is_not_there_stops_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "file").touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'file' / 'mlflow.db'}")
    tracker = Tracker(root, "lines-smoke", {}, DATA)
    begun = time.monotonic()
    tracker.start(Run("trial", "unet 0"))
    tracker.log("trial", {"val/psnr": 20.0}, step=1)
    tracker.end("trial", "FINISHED")
    assert time.monotonic() - begun < 0.1
    tracker.close()
    assert tracker.num_lost >= 3 and tracker.problem
