"""The confirmation is in every MLflow that was meant, once, and whoever asks knows which."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store
from studies.tracking.records import track_confirmation
from studies.tracking.tracked import is_tracked, note_tracked
from tests.tracked import points, runs, tracking

EXPERIMENT = "lines-smoke"


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_each_mlflow_is_noted_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / EXPERIMENT
    folder.mkdir()
    (tmp_path / "mlflow.db").touch()
    assert not is_tracked(folder)
    for content in ('{"tracked": true}', '{"trac'):  # of an older version; cut off
        (folder / "tracked.json").write_text(content)
        assert not is_tracked(folder)
    note_tracked(folder)
    assert is_tracked(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somebody:secret@mlflow.lab:5000")
    assert not is_tracked(folder)
    note_tracked(folder)
    assert is_tracked(folder) and "secret" not in (folder / "tracked.json").read_text()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert is_tracked(folder)
    (tmp_path / "mlflow.db").unlink()
    assert not is_tracked(folder)


@pytest.mark.slow
def test_another_mlflow_gets_the_confirmation_its_trajectories_and_the_report(
    tmp_path: Path, mlflow_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, other = tmp_path / "results", tmp_path / "other"
    for folder in (root, other):
        folder.mkdir()
        shutil.copy(mlflow_database, folder / "mlflow.db")
    store, report = Store(root), root / EXPERIMENT / "report"
    report.mkdir(parents=True)
    (report / "index.html").write_text("the report")
    unet = Execution("unet", {}, "d1", 1)
    upstreams = {role: f"{role}/made" for role in ("degrader", "hdn", "hvae", "nafnet", "restorer")}
    loop = Execution("iterative", {}, "d1", 1, {**upstreams, "unet": unet.address})
    metrics = {"history": [{"epoch": 1, "val/psnr": 20.0}], "final": {"val/psnr": 20.0}}
    content = io.BytesIO()
    table = {"variant": ["direct"] * 4, "step": [0, 0, 1, 1], "psnr": [1.0, 3.0, 4.0, 6.0]}  # two fields
    pd.DataFrame(table).to_parquet(content)
    store.publish(unet.address, {"metrics.json": json.dumps(metrics).encode()})
    files = {"metrics.json": json.dumps(metrics).encode(), "evaluation.parquet": content.getvalue()}
    store.publish(loop.address, files)
    wanted = {("unet", 1): unet, ("iterative", 1): loop}
    monkeypatch.chdir(other)  # where artifacts go by default
    for place in (root, other, other):
        if place == other:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other / 'mlflow.db'}")
        if not is_tracked(root / EXPERIMENT):
            tracker = tracking(root)
            track_confirmation(tracker, store, root / EXPERIMENT, wanted, [{"name": "direct"}], {})
            assert tracker.close() == ""
        assert is_tracked(root / EXPERIMENT)
        found = runs(place)
        assert found.keys() == {"confirmation", "unet, seed 1", "iterative, seed 1", "direct"}
        assert {run.info.status for run in found.values()} == {"FINISHED"}
        assert points(place, found["direct"], "test/psnr") == [(0, 2.0), (1, 5.0)]
        assert [path.read_text() for path in place.rglob("report/index.html")][-1] == "the report"
