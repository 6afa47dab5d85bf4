"""MLflow has what it was told, nothing doubled and nothing lost, and no caller ever waits."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from studies.tracking import spooling
from studies.tracking.tracker import Run, is_needed
from tests.tracked import points, runs, tracking

pytestmark = pytest.mark.slow


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


def test_a_run_that_is_continued_from_another_tree_has_its_patch_too(root: Path) -> None:
    tracker = tracking(root)
    tracker.start(Run("unet", "unet"))
    tracker.close()
    for texts in ({"git-1.patch": "+1\n"}, {"git-2.patch": "+2\udcf6\n"}, {"git-2.patch": "+2\udcf6\n"}):
        tracker = tracking(root)
        tracker.start(Run("unet", "unet", texts=texts))
        tracker.end("unet", "FINISHED")
        assert tracker.close() == ""
    there = {path.name: path.read_bytes() for path in (root / "mlartifacts").rglob("*.patch")}
    assert there == {"git-1.patch": b"+1\n", "git-2.patch": b"+2\xf6\n"}
    (path,) = (root / "mlartifacts").rglob("git-2.patch")
    path.unlink()
    again = tracking(root)
    again.start(Run("unet", "unet", texts={"git-2.patch": "+2\udcf6\n"}))
    assert again.close() == "" and not path.exists(), "what is there is not put again"


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
