"""Trials that fail, each in its way: recorded with the reason, the study goes on, and the exit code says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial

from studies.__main__ import main
from tests.faults import rig

pytestmark = pytest.mark.slow

STUDY: dict[str, Any] = {
    "question": "How does it fail?",
    "kind": "unet",
    "objective": {"metric": "val/psnr", "mode": "max"},
    "sampler": "random",
    "num_trials": 6,
    "space": {"lr": {"low": 0.001, "high": 0.005}, "share_at_T": 0.0},
    "points": [
        {"lr": 0.002, "weight_decay": 1e-4},
        {"lr": 0.003, "weight_decay": 1e-4},
        {"lr": 0.004, "weight_decay": 1e-4},
        {"lr": 0.005, "weight_decay": 1e-6},
        {"lr": 0.001, "weight_decay": 1e-4},
        {"lr": 0.001, "weight_decay": 1e-3},
    ],
    "scales": {"smoke": {}},
}


def reason_of(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get("reason"))


def test_each_failure_is_recorded_with_its_reason_and_the_study_goes_on(tmp_path: Path) -> None:
    path, root = rig.write_study(tmp_path, "failing", STUDY), tmp_path / "results"
    trace = tmp_path / "trace"
    code, said = rig.finish(rig.start(root, str(path), stages=rig.HERE / "stages", trace=trace))
    assert code == 1 and "Traceback" not in said, said
    ((name, found),) = rig.trials(root).items()
    assert [trial.state.name for trial in found] == ["FAIL"] * 4 + ["COMPLETE"] * 2
    nan, raises, memory, refused = found[:4]
    assert reason_of(nan) == "the objective val/psnr is nan"
    assert reason_of(raises) == "IndexError: index 7 is out of range for a mask of 3"
    assert "allocate" in reason_of(memory)
    assert "`weight_decay >= 2e-6` must hold with `lr` 0.005" in reason_of(refused)
    for trial in found[:4]:
        assert f"failing trial {trial.number} failed: {reason_of(trial)}" in said
    assert "chosen trial 4" in said
    rig.check_ledgers(root, failed=True)
    client = rig.client_of(root)
    experiment = client.get_experiment_by_name(rig.EXPERIMENT)
    runs = client.search_runs([experiment.experiment_id], "attributes.status = 'FAILED'")
    told = {run.data.tags["key"]: run.data.tags["reason"] for run in runs}
    assert told == {f"{name}/{trial.number}": reason_of(trial) for trial in found[:4]}
    tries = [line for line in rig.lines_of(trace) if line.startswith("write stages/unet/") and "/LEASE-" in line]
    assert len(tries) == 6, "each once, and what ran out of memory once more, alone"

    before = rig.table(root)
    code, again = rig.finish(rig.start(root, str(path), stages=rig.HERE / "stages"))
    assert code == 1 and "index 7 is out of range" in again, again
    assert rig.table(root) == before, "nothing is tried again"


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_misspelt_setting_is_refused_before_anything_starts(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = rig.write_study(tmp_path, "failing", {**STUDY, "kind": "restorer", "config": {"widht": 8}, "points": []})
    root = tmp_path / "results"
    assert main([command, str(path), "--scale", "smoke", "--storage", str(root)]) == 2
    said = capsys.readouterr().err
    assert "widht" in said and "nearest" in said and said.count("\n") == 1
    assert not root.exists()
