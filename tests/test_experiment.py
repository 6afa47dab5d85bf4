"""A results folder finds its own runs and artifacts: by whichever MLflow, without its ledger, and when it was moved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from studies.tracking.tracker import Run
from tests.mlflow_server import Server
from tests.tracked import client_of, points, runs, tracking

pytestmark = pytest.mark.slow


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


def session(folder: Path, name: str) -> str:
    """A run with artifacts; what is said at the end."""
    tracker = tracking(folder)
    tracker.start(Run(f"unet/{name}", name, config={"of": name}))
    (folder / "report").mkdir(exist_ok=True)
    (folder / "report" / "page.html").write_text(name)
    tracker.artifacts(f"unet/{name}", folder / "report", "report")
    tracker.end(f"unet/{name}", "FINISHED")
    return tracker.close()


def test_a_folder_that_is_moved_keeps_its_artifacts_and_its_pages_show_them(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    (root / "a").mkdir()
    shutil.copy(root / "mlflow.db", root / "a" / "mlflow.db")
    assert session(root / "a", "before") == ""
    (root / "a").rename(root / "b")
    assert session(root / "b", "after") == ""
    assert not (root / "a").exists(), "nothing is written to the old place"
    server = Server(root / "b", artifacts="mlartifacts")  # as `mlflow ui` in the folder has it by default
    server.start()
    try:
        server.wait()
        client = MlflowClient(server.uri)
        for name, run in runs(root / "b").items():
            assert [entry.path for entry in client.list_artifacts(run.info.run_id)] == ["config.json", "report"]
            there = Path(client.download_artifacts(run.info.run_id, "config.json", str(root)))
            assert json.loads(there.read_text()) == {"of": name}
            there = Path(client.download_artifacts(run.info.run_id, "report/page.html", str(root)))
            assert there.read_text() == name
    finally:
        server.kill()


def test_an_experiment_with_the_address_of_another_place_keeps_its_files_and_says_so(root: Path) -> None:
    old, new = root / "a", root / "b"
    new.mkdir()
    shutil.copy(root / "mlflow.db", new / "mlflow.db")
    location = (old / "mlartifacts" / "lines-smoke").as_uri()
    client_of(new).create_experiment("lines-smoke", artifact_location=location)
    said = session(new, "after")
    assert not old.exists()
    (config,) = (new / "mlartifacts" / "lines-smoke").rglob("config.json")
    assert config.parts[-3] == runs(new)["after"].info.run_id
    assert f"look for the artifacts of lines-smoke in {old / 'mlartifacts' / 'lines-smoke'}" in said
    assert said.endswith(f"they are in {new / 'mlartifacts' / 'lines-smoke'}.")
    new.rename(old)  # moved back
    assert session(old, "again") == ""
