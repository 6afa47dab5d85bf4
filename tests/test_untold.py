"""What a killed driver left untold is told by the next run of the command, and once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store
from studies import journal
from studies.follower import Follower
from studies.overhead import Overhead
from studies.progress import Progress
from studies.tracking.ledger import Ledger, folder_of
from studies.tracking.untold import untold
from tests.searching import JOINT
from tests.tracked import REPOSITORY, points, runs, tracking

NAME = "lines-smoke/both/ab"
HVAES = [Execution("hvae", {"beta": beta}, "d1", 0) for beta in (0.01, 0.02, 0.05, 0.1)]
METRICS = {"history": [{"epoch": 1, "val/psnr": 20.0}, {"epoch": 2, "val/psnr": 21.0}], "final": {"val/psnr": 22.0}}


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def searched(root: Path, *hvaes: Execution) -> optuna.Study:
    """A search with a trial under way on each HVAE."""
    study = optuna.create_study(study_name=NAME, storage=journal.storage(root), direction="maximize")
    for hvae in hvaes:
        own = Execution("restorer", {}, "d1", 0, {"hvae": hvae.address})
        pipeline = json.dumps([asdict(hvae), asdict(own)])
        attributes = {"executions": pipeline, "fingerprint": own.fingerprint}
        study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs=attributes))
    return study


def publish(root: Path, execution: Execution) -> None:
    Store(root).publish(execution.address, {"metrics.json": json.dumps(METRICS).encode()})


def test_trials_that_mlflow_was_not_told_of_to_the_end_are_told_again_once(tmp_path: Path) -> None:
    study = optuna.create_study(study_name="lines-smoke/unet/ab", storage=journal.storage(tmp_path))
    for _ in range(3):
        study.tell(study.ask(), 1.0)
    study.ask()
    ledger = Ledger(tmp_path, "lines-smoke")
    folder = folder_of(tmp_path, "lines-smoke")
    folder.mkdir(parents=True)

    def found() -> tuple[list[int], list[str], bool]:
        trials, addresses, is_open = untold(tmp_path, "lines-smoke", study, Store(tmp_path))
        return [trial.number for trial in trials], addresses, is_open

    assert found()[0] == [0, 1, 2]
    ledger.ended({"lines-smoke/unet/ab/0": "FINISHED", "lines-smoke/unet/ab/1": "KILLED"})
    assert found()[0] == [1, 2]
    entry = {"op": "end", "key": "lines-smoke/unet/ab/2", "status": "FINISHED"}
    (folder / "spool-host-1-2-ab-00000001.jsonl").write_text(json.dumps(entry) + "\n" + '{"op": "end", "k')
    assert found()[0] == [1], "what waits in a spool is told"
    ledger.ended({"lines-smoke/unet/ab/1": "FINISHED"})
    assert found() == ([], [], True)
    ledger.ended({"lines-smoke/unet/ab": "FINISHED"})
    assert found() == ([], [], False)


def test_a_trial_that_was_pruned_is_told_though_it_was_closed_as_killed_before(tmp_path: Path) -> None:
    study = optuna.create_study(study_name=NAME, storage=journal.storage(tmp_path))
    study.tell(study.ask(), state=TrialState.PRUNED)
    ledger = Ledger(tmp_path, "lines-smoke")
    for status, numbers in (("KILLED", [0]), ("PRUNED", [])):  # by Ctrl-C; by its own ending
        ledger.ended({f"{NAME}/0": status})
        trials = untold(tmp_path, "lines-smoke", study, Store(tmp_path))[0]
        assert [trial.number for trial in trials] == numbers


def test_a_stage_that_ended_when_nobody_was_left_to_tell_is_told_by_the_next_command(tmp_path: Path) -> None:
    study = searched(tmp_path, *HVAES)
    published, failed, under_way, of_another_study = HVAES
    ledger = Ledger(tmp_path, "lines-smoke")
    ledger.add({f"{NAME}/{published.address}": "1", f"{NAME}/{under_way.address}": "2"})
    start = {"op": "start", "key": f"{NAME}/{failed.address}"}  # in a spool that nobody delivered yet
    (folder_of(tmp_path, "lines-smoke") / "spool-host-1-2-ab-00000001.jsonl").write_text(json.dumps(start) + "\n")
    for execution in (published, of_another_study):
        publish(tmp_path, execution)
    Store(tmp_path).remember_failure(failed.address, "out of luck")

    def left() -> list[str]:
        return untold(tmp_path, "lines-smoke", study, Store(tmp_path))[1]

    assert left() == sorted((published.address, failed.address))
    ledger.ended({f"{NAME}/{published.address}": "KILLED"})  # by whoever took the spool over
    assert published.address in left()
    ledger.ended({f"{NAME}/{published.address}": "FINISHED", f"{NAME}/{failed.address}": "FAILED"})
    assert left() == []


def test_another_mlflow_is_told_of_the_stages_that_the_first_one_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = searched(tmp_path, HVAES[0])
    publish(tmp_path, HVAES[0])
    Ledger(tmp_path, "lines-smoke").add({f"{NAME}/{HVAES[0].address}": "1"})
    Ledger(tmp_path, "lines-smoke").ended({f"{NAME}/{HVAES[0].address}": "FINISHED"})
    assert untold(tmp_path, "lines-smoke", study, Store(tmp_path))[1] == []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.lab:5000")
    assert untold(tmp_path, "lines-smoke", study, Store(tmp_path))[1] == [HVAES[0].address]


@pytest.mark.slow
def test_a_published_stage_is_finished_in_mlflow_after_the_second_command(
    tmp_path: Path, mlflow_database: Path
) -> None:
    """A worker publishes the HVAE and the driver is killed before it says so."""
    shutil.copy(mlflow_database, tmp_path / "mlflow.db")
    hvae, pruned, progress = HVAES[0], f"{NAME}/1", Progress()
    key = f"{NAME}/{hvae.address}"
    script = (
        "import os, sys; from pathlib import Path; from studies.tracking.tracker import Run;"
        "from tests.tracked import tracking; root, name, *keys = sys.argv[1:]; tracker = tracking(Path(root));"
        "tracker.start(Run(name, 'both')); [tracker.start(Run(key, key, name)) for key in keys];"
        "tracker.log(keys[0], {'val/psnr': 20.0}, step=1); assert tracker.flush(); os._exit(9)"
    )
    words = [sys.executable, "-c", script, str(tmp_path), NAME, key, pruned]
    assert subprocess.run(words, cwd=REPOSITORY, check=False).returncode == 9
    publish(tmp_path, hvae)
    study = searched(tmp_path, hvae)
    study.tell(study.ask(), state=TrialState.PRUNED)
    tracker = tracking(tmp_path)
    told = untold(tmp_path, "lines-smoke", study, Store(tmp_path))
    follower = Follower(JOINT, study, tracker, progress, Overhead())
    follower.retell(*told[:2], Store(tmp_path))
    follower.end()
    assert tracker.close() == ""
    (run,) = [run for run in runs(tmp_path).values() if run.data.tags["key"] == key]
    assert run.info.status == "FINISHED" and run.data.metrics["val/psnr"] == 22.0
    assert points(tmp_path, run, "val/psnr") == [(1, 20.0), (2, 21.0), (2, 22.0)]
    (run,) = [run for run in runs(tmp_path).values() if run.data.tags["key"] == pruned]
    assert run.info.status == "KILLED" and Ledger(tmp_path, "lines-smoke").status(pruned) == "PRUNED"
    trials, addresses, _ = untold(tmp_path, "lines-smoke", study, Store(tmp_path))
    assert (trials, addresses) == ([], []), "nothing is left to a third one"
