"""The account of a run's time: its parts add up to the wall time, and a run is counted once."""

from __future__ import annotations

import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from analysis.overhead import account
from dehazing.pipeline.clock import PARTS
from studies.overhead import FILE, Overhead

CHECKOUT = Path(__file__).parents[1]


def test_the_parts_add_up_to_the_wall_time(tmp_path: Path) -> None:
    overhead = Overhead()
    overhead.started(0.01, slots=2)
    time.sleep(0.12)
    overhead.worked(3, {"arithmetic": 0.06, "store": 0.02}, busy_s=0.1)
    overhead.searched(0.08, optuna_s=0.004)
    record = overhead.record(logging_s=0.001)
    parts = record["parts_s"]
    assert parts["arithmetic"] == pytest.approx(0.03) and parts["store"] == pytest.approx(0.01)
    assert parts["ray"] == pytest.approx(0.05 - 0.04) and parts["idle"] == pytest.approx(0.08 - 0.05)
    assert sum(parts.values()) == pytest.approx(record["wall_s"]) and set(PARTS) <= set(parts)
    assert record["beside_s"] == {"optuna": 0.004, "logging": 0.001} and record["executions"] == 3


def test_a_run_that_executed_nothing_leaves_no_entry_and_one_that_did_leaves_one(tmp_path: Path) -> None:
    Overhead().write(tmp_path / "e", 0.0)
    assert account(tmp_path, "e") is None and not (tmp_path / "e").exists()
    first = Overhead()
    first.worked(2, {"arithmetic": 0.5}, busy_s=0.6)
    first.write(tmp_path / "e", 0.0)
    first.write(tmp_path / "e", 0.0)
    found = account(tmp_path, "e")
    assert found is not None and (found.num_runs, found.num_executions) == (1, 2)
    second = Overhead()
    second.begun = "later"
    second.worked(1, {}, busy_s=0.1)
    second.write(tmp_path / "e", 0.0)
    found = account(tmp_path, "e")
    assert found is not None and (found.num_runs, found.num_executions) == (2, 3)
    assert sum(part.share for part in found.parts if part.title == "stage arithmetic") > 0
    assert sorted(path.name for path in (tmp_path / "e").iterdir()) == [FILE, "overhead.lock"]


def test_a_damaged_account_costs_neither_a_run_nor_the_report(tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / FILE).write_text("")
    assert account(tmp_path, "e") is None
    overhead = Overhead()
    overhead.worked(1, {"arithmetic": 0.5}, busy_s=0.6)
    overhead.write(tmp_path / "e", 0.0)
    found = account(tmp_path, "e")
    assert found is not None and found.num_runs == 1


def test_the_imports_of_a_process_count_once() -> None:
    script = (
        "import time; begun = time.time(); time.sleep(0.3); from studies.overhead import Overhead;"
        "first, second = Overhead(), Overhead(); now = time.perf_counter();"
        "print(now - first.begun_s, now - second.begun_s)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    first_s, second_s = map(float, said.stdout.split())
    assert first_s > 0.3 > second_s


def write_many(folder: Path, name: str) -> None:
    overhead = Overhead()
    for number in range(20):
        overhead.begun = f"{name} {number}"
        overhead.num_executions = 1
        overhead.write(folder, 0.0)


def test_runs_that_end_at_once_lose_no_entry(tmp_path: Path) -> None:
    context = get_context("fork")
    writers = [context.Process(target=write_many, args=(tmp_path, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    found = account(tmp_path.parent, tmp_path.name)
    assert found is not None and found.num_runs == 40
