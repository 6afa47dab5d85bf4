"""The confirmation is in every MLflow that was meant, once, and whoever asks knows which."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store
from studies.tracking.open_run import NOTE
from studies.tracking.records import _overlaid, _params, track_again, track_confirmation, track_report
from studies.tracking.tracked import is_tracked, note_tracked
from tests.tracked import client_of, points, runs, tracking

EXPERIMENT = "lines-smoke"
UNET = (["unet"] * 4, [0, 0, 1, 1], [7.0, 9.0, 8.0, 10.0])  # variant, step, PSNR of two fields


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


def test_the_prepared_comparison_is_of_loops_that_iterate_from_the_top() -> None:
    """The ends that are highest belong to loops that begin lower, and to controls."""
    ends = {"direct": (3, 3, 20.0), "residual": (3, 3, 24.0), "stop": (3, 3, 25.0), "identity": (3, 3, 26.0)}
    ends |= {"teacher_forced": (3, 3, 33.0), "direct_from_2": (2, 2, 30.0), "direct_from_1": (1, 1, 40.0)}
    rows = [
        {"variant": name, "step": step, "level": start - step, "start": start, "psnr": end - (step + 1 < num)}
        for name, (start, num, end) in ends.items()
        for step in range(num)
    ]
    rows += [{"variant": "hdn", "step": 3 - t, "level": t, "start": 3, "psnr": 27.0} for t in (3, 2, 1)]
    rows += [{"variant": "input", "step": 0, "level": 3, "start": 3, "psnr": 9.0}]
    assert _overlaid(pd.DataFrame(rows)) == (["hdn"], ["residual", "direct"])


def test_a_loop_from_a_lower_level_has_the_settings_of_the_loop_from_the_top_and_its_start() -> None:
    loop = {"name": "combine_z_first", "variant": "combine_z", "alpha": {"kind": "power"}, "lower_starts": True}
    loops = {"combine_z_first": loop}
    settings = {"variant": "combine_z", "alpha/kind": "power"}
    assert _params("combine_z_first", 4, loops) == {**settings, "name": "combine_z_first", "start": 4}
    assert _params("combine_z_first_from_3", 3, loops) == {**settings, "name": "combine_z_first_from_3", "start": 3}
    assert _params("teacher_forced", 4, loops) == {"variant": "teacher_forced", "start": 4}
    assert _params("unet", 4, loops) == {"variant": "unet"}


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
    table = {name: [*values, *more] for (name, values), more in zip(table.items(), UNET, strict=True)}
    table["level"] = [2 - step for step in table["step"]]
    pd.DataFrame(table).to_parquet(content)
    store.publish(unet.address, {"metrics.json": json.dumps(metrics).encode()})
    stack = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 8, 8)
    examples = save({"truth": stack, "input": stack, "direct": stack, "direct/steps": np.stack([stack, stack])})
    files = {"metrics.json": json.dumps(metrics).encode(), "evaluation.parquet": content.getvalue()}
    files["examples.safetensors"] = examples
    store.publish(loop.address, files)
    wanted = {("unet", 1): unet, ("iterative", 1): loop}
    monkeypatch.chdir(other)  # where artifacts go by default
    for place in (root, other, other):
        if place == other:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other / 'mlflow.db'}")
        if not is_tracked(root / EXPERIMENT):
            tracker = tracking(root)
            track_report(tracker, root / EXPERIMENT, "lines", "smoke", {"unet": "How well?"})
            track_confirmation(tracker, store, root / EXPERIMENT, wanted, [{"name": "direct"}], {})
            assert tracker.close() == ""
        assert is_tracked(root / EXPERIMENT)
        found = runs(place)
        assert found.keys() == {"confirmation", "report", "unet, seed 1", "iterative, seed 1", "direct", "unet"}
        assert {run.info.status for run in found.values()} == {"FINISHED"}
        assert points(place, found["direct"], "test/psnr") == [(0, 2.0), (1, 5.0)]
        assert points(place, found["unet"], "test/psnr") == [(0, 8.0), (1, 8.0)], "from the haziest level, a line"
        assert points(place, found["unet"], "from_level/psnr") == [(1, 9.0), (2, 8.0)]
        assert "from_level/psnr" not in found["direct"].data.metrics
        (page,) = place.rglob("report/index.html") if place == other else place.rglob("artifacts/report/index.html")
        assert page.read_text() == "the report" and found["report"].info.run_id in str(page)
        (strip,) = place.rglob("pictures/steps.png")
        assert found["direct"].info.run_id in str(strip), "and none is left beside the spool"
        (link,) = re.findall(r"\]\(#/metric\?runs=([^&]*)&", found["confirmation"].data.tags[NOTE])
        assert json.loads(unquote(link)) == [found[name].info.run_id for name in ("unet", "direct")]


@pytest.mark.slow
def test_a_report_that_is_written_again_takes_the_place_of_the_one_before(root: Path) -> None:
    report = root / EXPERIMENT / "report"
    confirmation = {"dataset_title": "lines", "dataset": "d1", "scale": "smoke", "git_commit": "c0ffee"}
    for text, more, gone in (("first", "figures/old.png", "figures/new.png"), ("second", "figures/new.png", "old")):
        shutil.rmtree(report, ignore_errors=True)
        (report / "figures").mkdir(parents=True)
        (report / "index.html").write_text(f'<p class="headline">{text}</p>')
        (report / more).touch()
        (root / EXPERIMENT / "confirm.json").write_text(json.dumps(confirmation))
        assert track_again(root, EXPERIMENT) == ""
        run = runs(root)["report"]
        there = root / "mlartifacts" / EXPERIMENT / run.info.run_id / "artifacts" / "report"
        files = [str(path.relative_to(there)) for path in there.rglob("*") if path.is_file()]
        assert sorted(files) == [more, "index.html"], f"{gone} is not there"
        assert text in run.data.tags[NOTE] and run.info.status == "FINISHED"
        assert text in client_of(root).get_experiment_by_name(EXPERIMENT).tags[NOTE]
    (root / "mlflow.db").unlink()
    assert track_again(root, EXPERIMENT) == "" and not (root / "mlflow.db").exists(), "MLflow is not in use"


@pytest.mark.slow
def test_the_report_waits_for_a_server_that_is_away(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / EXPERIMENT / "report").mkdir(parents=True)
    (root / EXPERIMENT / "report" / "index.html").write_text("the report")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    tracker = tracking(root)
    track_report(tracker, root / EXPERIMENT, "lines", "smoke", {})
    assert "entries wait" in tracker.close()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert tracking(root).close() == ""
    run = runs(root)["report"]
    assert "the report" in (root / "mlartifacts").glob(f"*/{run.info.run_id}/artifacts/report/*").__next__().read_text()
