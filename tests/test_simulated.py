"""The simulated trials: as long as they say, as talkative as a degrader, and run by the shipped driver."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from benchmarks.ideal import list_scheduled, steady
from dehazing.pipeline.execute import execute
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store
from tests import tiny_series

CHECKOUT = Path(__file__).parents[1]
BRIEF = {"patch_px": 32, "batch_size": 2, "num_epochs": 1, "steps_per_epoch": 1, "width": 8}


def test_a_list_of_work_ends_when_its_last_slot_does() -> None:
    assert list_scheduled([3.0, 1.0, 1.0, 1.0], 2) == 3.0
    assert list_scheduled([1.0, 1.0, 1.0, 3.0], 2) == 4.0


def test_the_wall_time_counts_from_when_every_slot_has_work() -> None:
    def one(pid: int, begun: float, nominal_s: float) -> dict[str, Any]:
        return {"pid": pid, "begun": begun, "nominal_s": nominal_s}

    executions = [one(1, 100.0, 4.0), one(2, 103.0, 2.0), one(1, 104.5, 3.0)]
    assert steady(executions, 2, ended_s=108.0) == (103.0, 5.0, 4.0)
    lost = [*executions, one(3, 107.0, 1.0)]
    assert steady(lost, 2, ended_s=108.0)[0] == 103.0, "an actor that takes another's place is no start-up"


def test_durations_have_their_mean_and_repeat() -> None:
    from benchmarks.simulated_trial import duration_s

    seconds = [duration_s(f"degrader/{number}", 2.8) for number in range(4000)]
    assert mean(seconds) == pytest.approx(2.8, rel=0.05) and max(seconds) > 2 * 2.8
    assert duration_s("degrader/0", 2.8) == seconds[0]


@pytest.mark.slow
def test_a_simulated_trial_reports_what_a_degrader_reports(tmp_path: Path) -> None:
    from benchmarks.simulated_trial import EPOCH, FINAL

    store = tiny_series.publish(tmp_path)
    made: dict[str, str] = {}
    for kind, more in {"hvae": {}, "restorer": {}, "degrader": {"discriminator_width": 8}}.items():
        upstreams = {
            role: made[role] for role in {"degrader": ["hvae", "restorer"], "restorer": ["hvae"]}.get(kind, [])
        }
        run = Execution(kind, {**BRIEF, **more}, tiny_series.NAME, 0, upstreams)
        execute(run, store)
        made[kind] = run.address
        record = json.loads(store.read(run.address, "metrics.json"))
        assert sorted(record["final"]) == sorted(FINAL[kind])
    assert sorted(name for name in record["history"][0] if "/" in name) == sorted(EPOCH)


@pytest.mark.cluster
@pytest.mark.timeout(900)  # a minute and a half where nothing else runs
def test_the_shipped_driver_runs_trials_that_only_sleep(tmp_path: Path) -> None:
    words = ["--trials", "200", "--slots", "8", "--nodes", "2", "--mean", "1", "--root", str(tmp_path / "results")]
    out = tmp_path / "figures.json"
    subprocess.run(
        [sys.executable, "-m", "benchmarks.simulated", *words, "--out", str(out)], check=True, cwd=CHECKOUT, timeout=800
    )
    record = json.loads(out.read_text())
    assert record["executions"] == record["distinct"] == 200 and record["actors"] == 8
    assert record["ideal_s"] <= record["wall_s"] and record["per_s"] > 0
    assert record["rows"]["metrics"] >= 200 * 20 * 11, "every metric of every epoch reaches MLflow"
    published = [address for address in Store(tmp_path / "results").addresses() if address.startswith("degrader/")]
    assert len(published) == 200
