"""The process that talks to MLflow: killed it is started again, and where it gives up it says why."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import psutil
import pytest

from studies.tracking.delivering import DeliveryProcess
from studies.tracking.tracker import Run
from tests.tracked import points, runs, tracking

pytestmark = pytest.mark.slow


def test_a_delivering_process_that_is_killed_is_started_again(root: Path) -> None:
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


def test_a_process_that_is_killed_again_and_again_while_a_run_ends_is_no_outage(root: Path) -> None:
    tracker, killed = tracking(root, is_apart=True), []

    def kill() -> None:
        while len(killed) < 6:
            for child in psutil.Process().children():
                with contextlib.suppress(psutil.Error):
                    if child.pid not in killed and "studies.tracking.delivering" in child.cmdline():
                        child.kill()
                        killed.append(child.pid)
            time.sleep(0.02)

    killer = threading.Thread(target=kill)
    killer.start()
    tracker.start(Run("unet", "unet"))
    tracker.end("unet", "FINISHED")
    assert tracker.close() == ""
    killer.join()
    assert len(killed) == 6 and runs(root)["unet"].info.status == "FINISHED"


def test_a_process_that_ends_by_itself_is_an_outage_and_says_why(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = DeliveryProcess(root, "lines-smoke")
    with monkeypatch.context() as broken:
        broken.setenv("PYTHONHOME", str(root / "absent"))
        before = set(psutil.Process().children())
        with pytest.raises(RuntimeError, match=r"has ended with 1: .*\w"):
            process.deliver(None)
        assert set(psutil.Process().children()) <= before
    process.deliver(None)
    process.close()
    with pytest.raises(RuntimeError, match="was ended"):
        process.deliver(None)
    assert set(psutil.Process().children()) <= before, "none is started after the end"
