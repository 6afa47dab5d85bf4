"""MLflow's server is away for a while in the middle of a study: nothing waits for it, and it gets every metric."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.faults import rig
from tests.mlflow_server import serving

STUDY = {
    "question": "Who waits for whom?",
    "kind": "unet",
    "objective": {"metric": "val/psnr", "mode": "max"},
    "sampler": "random",
    "num_trials": 6,
    "space": {"lr": 0.001, "share_at_T": 0.0},
    "scales": {"smoke": {}},
}


@pytest.mark.parametrize(
    "away_s",
    [pytest.param(10, marks=pytest.mark.slow), pytest.param(60, marks=[pytest.mark.faults, pytest.mark.timeout(1200)])],
)
def test_a_server_that_is_away_misses_nothing_and_slows_nobody(tmp_path: Path, away_s: int) -> None:
    # three rounds of two side by side: the server is away in the middle of them
    config = {"num_epochs": 20, "epoch_s": (away_s + 20) / 60}
    path, root = rig.write_study(tmp_path, "slow", {**STUDY, "config": config}), tmp_path / "results"
    with serving(tmp_path / "served") as server:
        process = rig.start(root, str(path), stages=rig.HERE / "stages", uri=server.uri)
        deadline_s = time.monotonic() + 120
        while not list(root.glob("stages/unet/*/partial/epoch-*")) and time.monotonic() < deadline_s:
            time.sleep(0.1)
        time.sleep(3.0)
        server.kill()
        time.sleep(away_s)
        server.start()
        server.wait()
        assert process.poll() is None, "the study outlasts the outage"
        code, said = rig.finish(process)
        assert code == 0 and "MLflow" not in said, said
        rig.check_ledgers(root, uri=server.uri)
    (record,) = json.loads((root / rig.EXPERIMENT / "overhead.json").read_text())
    assert record["beside_s"]["logging"] < 0.01 * record["wall_s"]
