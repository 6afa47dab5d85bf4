"""Drivers and workers are killed at any moment: the same command goes on, and ends with what an undisturbed run has."""

from __future__ import annotations

import json
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults import rig
from tests.faults.rig import PAIR, Point

# Every kind of write below the results folder, as lines of a trace (faults/sitecustomize.py).
KINDS: dict[str, str] = {
    "journal": r"^write optuna/journal\.log$",
    "journal, written": r"^synced optuna/journal\.log$",
    "journal's lock": r"^write optuna/journal\.lock$",
    "lock of the asking": r"^write optuna/asking\.lock$",
    "lease": r"^write stages/\w+/\w+/LEASE-\d+$",
    "lease given back": r"^(rename|remove) stages/\w+/\w+/LEASE-",
    "checkpoint aside": r"^(write|synced) stages/\w+/\w+/partial/.*\.tmp$",
    "checkpoint": r"^rename stages/\w+/\w+/partial/epoch-",
    "old checkpoint": r"^remove stages/\w+/\w+/partial/",
    "checkpoints dropped": r"^remove stages/\w+/\w+/partial$",
    "result aside": r"^(write|synced) stages/\w+/\w+/publishing-\w+/",
    "result's file": r"^rename stages/\w+/\w+/(?!manifest)[\w.]+$",
    "manifest": r"^rename stages/\w+/\w+/manifest\.json$",
    "folder, written": r"^synced stages/\w+/\w+$",
    "aside dropped": r"^remove stages/\w+/\w+/publishing-\w+$",
    "id of the folder": r"^(write|synced|link|remove) results\.id\S*$",
    "spool": r"^write \S+/mlflow/spool-",
    "spool, written": r"^synced \S+/mlflow/spool-",
    "spool, delivered": r"^remove \S+/mlflow/spool-",
    "tracker's sign": r"^(write|touch|remove) \S+/mlflow/writer-",
    "run's id": r"^(write|synced) \S+/mlflow/runs\.jsonl$",
    "lock of the runs": r"^write \S+/mlflow/lock$",
    "MLflow's tables": r"^((commit|synced|remove) \.mlflow-|link mlflow\.db$)",
    "MLflow's database": r"^commit mlflow\.db$",
    "MLflow's artifacts": r"^(write|rename|touch|remove|synced|make) mlartifacts",
    "overhead": r"^(write|rename|synced) \S+/overhead\S*\.(tmp|json)$",
    "trials.json": r"^(write|rename|synced) [\w-]+/trials\.(json|tmp)$",
    "confirm.json": r"^(write|rename|synced|remove) [\w-]+/confirm\.(json|tmp)$",
    "tracked.json": r"^(write|rename|synced|remove) [\w-]+/tracked\.(json|tmp)$",
    "report": r"^\w+ [\w-]+/report",
}
# What nobody reads again: folders, a removed reason where there was none, Tune's scratch, a probe of writability.
HARMLESS = (
    r"^make (stages|optuna|tune|lines-smoke)(/|$)",
    r"^remove stages/\w+/\w+/failed\.json$",
    r"^remove stages/drivers/\w+(/manifest\.json)?$",  # the lease of a driver that is done
    r"^touch stages/\w+/\w+/LEASE-\d+$",  # where the machine is slow enough
    r"^write \S+/overhead\.lock$",
    r"^\w+ tune(/|$)",
    r"^(write|remove) tmp\w+$",
    r"^\w+ stages/series/\w+/partial/tmp\w+",
    r"^(rename|synced) stages/series/\w+/publishing-\w+/series\.",
)
MAKING = ("MLflow's tables",)
CONCLUDING = ("trials.json", "confirm.json", "tracked.json", "report")
MORE_JOURNAL = 8  # points in the journal beside those of every kind


@dataclass(frozen=True)
class Reference:
    """An undisturbed run: its study's file, its folder, what its table holds and what it wrote."""

    path: Path
    root: Path
    table: list[tuple[Any, ...]]
    lines: list[str]
    seconds: float
    database: Path  # of MLflow, empty

    def prepared(self, root: Path) -> Path:
        """A results folder in which nothing was searched yet."""
        return rig.prepared(root, self.database, self.root)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp("undisturbed")
    path, root = rig.write_study(folder, "pair", PAIR), folder / "results"
    begun_s = time.monotonic()
    code, said = rig.finish(rig.start(root, str(path), trace=folder / "trace"))
    assert code == 0, said
    rig.check_ledgers(root)
    seconds = time.monotonic() - begun_s
    database = rig.empty_database(folder / "empty")
    return Reference(path, root, rig.table(root), rig.lines_of(folder / "trace"), seconds, database)


def kinds_of(line: str) -> list[str]:
    return [name for name, pattern in KINDS.items() if re.search(pattern, line)]


def pair_of_points(reference: Reference, kind: str) -> list[Point]:
    """Before one write of a kind and after a later one; where there is one only, after it when it is done again."""
    num = sum(kind in kinds_of(line) for line in reference.lines)
    first = max(1, min(3, num // 4))  # early, as a run that goes on writes less
    return [Point(KINDS[kind], first, "before"), Point(KINDS[kind], first + max(1, num // 8), "after")]


def check(reference: Reference, root: Path) -> None:
    """As undisturbed, and every ledger agrees."""
    assert rig.table(root) == reference.table
    rig.check_ledgers(root)


@pytest.mark.slow
def test_every_kind_of_write_is_known(reference: Reference) -> None:
    unknown = {
        line
        for line in reference.lines
        if not kinds_of(line) and not any(re.search(pattern, line) for pattern in HARMLESS)
    }
    assert not unknown
    seen = {kind for line in reference.lines for kind in kinds_of(line)}
    assert seen == set(KINDS) - set(CONCLUDING)
    # what is written without Python's knowledge shows in what is there in the end
    made = ("mlflow.db", "stages/", "optuna/journal.log", "optuna/journal.lock", "optuna/asking.lock", "results.id")
    made += ("mlartifacts/", "lines-smoke/")
    assert all(name.startswith(made) for name in rig.files_below(reference.root))


@pytest.mark.slow
def test_executions_are_shared_by_what_needs_them(reference: Reference) -> None:
    manifests = [line for line in reference.lines if re.search(r"^rename stages/(?!series).*/manifest\.json$", line)]
    assert len(manifests) == len(set(manifests)) == len({e for row in reference.table for e in [row[4]]}) + 2


@pytest.mark.slow
def test_killed_at_writes_and_at_random_briefly(reference: Reference, tmp_path: Path) -> None:
    root = reference.prepared(tmp_path / "results")
    points = [
        Point(KINDS["checkpoint"], 1, "after"),
        Point(KINDS["manifest"], 2, "before"),
        Point(KINDS["journal"], 30, "after"),
        Point(KINDS["spool, written"], 12, "after"),
    ]
    assert rig.until_it_ends(root, str(reference.path), points=points) >= 2
    assert rig.all_met(root, points)
    check(reference, root)


@pytest.mark.slow
def test_killed_at_random_moments_briefly(reference: Reference, tmp_path: Path) -> None:
    root = reference.prepared(tmp_path / "results")
    assert rig.killed_at_random(root, str(reference.path), kills=3, seed=3, within_s=reference.seconds / 2) >= 1
    check(reference, root)


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", range(10))
def test_fifty_kills_at_random_moments(reference: Reference, tmp_path: Path, number: int) -> None:
    """Five in each of ten studies; where one comes to its end before, another is begun."""
    done = again = 0
    while done < 5:
        root = reference.prepared(tmp_path / str(again) / "results")
        seed = 100 * number + again
        done += rig.killed_at_random(
            root, str(reference.path), kills=5 - done, seed=seed, within_s=0.8 * reference.seconds
        )
        check(reference, root)
        again += 1


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in (*CONCLUDING, *MAKING)])
def test_killed_right_before_and_right_after_each_kind_of_write(
    reference: Reference, tmp_path: Path, kind: str
) -> None:
    root = reference.prepared(tmp_path / "results")
    points = pair_of_points(reference, kind)
    rig.until_it_ends(root, str(reference.path), points=points)
    if kind == "overhead":  # at the very end: nothing is left to be done by the same command
        assert rig.all_met(root, points[:1])
        other = reference.prepared(tmp_path / "other" / "results")
        rig.until_it_ends(other, str(reference.path), points=points[1:])
        assert rig.all_met(other, points[1:])
        check(reference, other)
    else:
        assert rig.all_met(root, points)
    check(reference, root)


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_killed_at_many_entries_of_the_journal(reference: Reference, tmp_path: Path) -> None:
    root = reference.prepared(tmp_path / "results")
    num = sum(line == "write optuna/journal.log" for line in reference.lines)
    points = [
        Point(KINDS["journal"], (2 * i + 1) * num // (2 * MORE_JOURNAL), ("before", "after")[i % 2])
        for i in range(MORE_JOURNAL)
    ]
    rig.until_it_ends(root, str(reference.path), points=points)
    assert rig.all_met(root, points)
    check(reference, root)


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("which", rig.RAYS_OWN)
def test_killed_ray_ends_the_run_at_most_by_one_sentence_and_the_same_command_goes_on(
    reference: Reference, tmp_path: Path, which: str
) -> None:
    root = reference.prepared(tmp_path / "results")
    process = rig.start(root, str(reference.path))
    while process.poll() is None and not list(root.glob("stages/hvae/*/partial/epoch-*")):
        time.sleep(0.05)
    (own,) = [p for p in rig.processes(process.pid) if p.cmdline()[0].endswith(which)]
    own.kill()
    code, said = rig.finish(process)
    assert "Traceback" not in said, said
    # what runs may end before the loss is noticed; without the global store Ray ends the process itself
    assert code == 0 or which == "/gcs_server" or "Ray must stay alive on this host" in said, said
    rig.until_it_ends(root, str(reference.path))
    check(reference, root)


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_killed_when_the_journal_has_the_end_and_mlflow_has_not(reference: Reference, tmp_path: Path) -> None:
    root = reference.prepared(tmp_path / "results")
    num = sum(line == "synced optuna/journal.log" for line in reference.lines)
    points = [Point(KINDS["journal, written"], num - 1, "after"), Point(KINDS["journal, written"], num, "after")]
    assert rig.until_it_ends(root, str(reference.path), points=points) >= 1
    check(reference, root)


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_killed_when_the_store_has_what_trials_build_on_and_mlflow_has_not(
    reference: Reference, tmp_path: Path
) -> None:
    root = reference.prepared(tmp_path / "results")
    process = rig.start(root, str(reference.path))
    while process.poll() is None and not list(root.glob("stages/hvae/*/manifest.json")):
        time.sleep(0.005)
    process.kill()
    assert rig.finish(process)[0] == -signal.SIGKILL
    assert rig.until_it_ends(root, str(reference.path)) == 0
    check(reference, root)


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_killed_while_the_series_and_the_database_are_made(reference: Reference, tmp_path: Path) -> None:
    root = tmp_path / "results"
    series = r" stages/series/\w+/(manifest\.json|series\.json|LEASE-\d+)$"
    num = sum("commit mlflow.db" in line for line in reference.lines)
    points = [Point(r"^rename" + series, 1, "before"), Point(r"^(rename|remove)" + series, 3, "after")]
    points += [Point(KINDS["MLflow's tables"], n, "before") for n in (1, 3)]
    points += [Point(r"^synced \.mlflow-", 1, "before"), Point(r"^link mlflow\.db$", 1, "after")]
    points += [Point(KINDS["MLflow's database"], n, "before") for n in (1, num // 8)]
    rig.until_it_ends(root, str(reference.path), points=points)
    assert rig.all_met(root, points)
    check(reference, root)


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(3))
def test_with_a_sampler_that_learns_nothing_is_lost_doubled_or_left_running(
    reference: Reference, tmp_path: Path, seed: int
) -> None:
    path = rig.write_study(tmp_path, "pair", {**PAIR, "sampler": "tpe"})
    root = reference.prepared(tmp_path / "results")
    rig.killed_at_random(root, str(path), kills=5, seed=1000 + seed, within_s=0.8 * reference.seconds)
    rig.check_ledgers(root)
    assert len(rig.table(root)) == PAIR["num_trials"]


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_killed_while_a_failure_is_remembered(reference: Reference, tmp_path: Path) -> None:
    study = {
        "question": "Does it fail?",
        "kind": "unet",
        "objective": {"metric": "val/psnr", "mode": "max"},
        "sampler": "random",
        "num_trials": 2,
        "space": {"lr": {"choices": [0.001, 0.003]}},
        "points": [{"lr": 0.003}, {"lr": 0.001}],
        "scales": {"smoke": {}},
    }
    path = rig.write_study(tmp_path, "failing", study)
    root = reference.prepared(tmp_path / "results")
    failed = r"^rename stages/\w+/\w+/failed\.json$"
    points = [Point(failed, 1, "before"), Point(failed, 2, "after")]
    code, said = rig.finish(rig.start(root, str(path), points=points, stages=rig.HERE / "stages"))
    assert code == 1 and "IndexError: index 7 is out of range" in said, said
    assert rig.all_met(root, points)
    assert [row[2] for row in rig.table(root)] == ["FAIL", "COMPLETE"]
    rig.check_ledgers(root, failed=True)


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_killed_around_each_file_of_the_conclusion(tmp_path: Path) -> None:
    """The whole investigation, whose confirmation is then told again and again."""
    root = tmp_path / "results"
    folder = root / rig.EXPERIMENT
    code, said = rig.finish(rig.start(root, "all"))
    assert code == 0, said
    table, gap = rig.table(root), (folder / "report" / "gap.csv").read_bytes()
    names = ("trials.json", "confirm.json")
    before = {name: rig.without_seconds(json.loads((folder / name).read_text())) for name in names}
    for name in names:
        (folder / name).unlink()
    points = [Point(KINDS[kind], n, when) for kind in CONCLUDING for n, when in ((1, "before"), (2, "after"))]
    rig.until_it_ends(root, "all", points=points)
    assert rig.all_met(root, points)
    assert rig.table(root) == table and (folder / "report" / "gap.csv").read_bytes() == gap
    assert before == {name: rig.without_seconds(json.loads((folder / name).read_text())) for name in names}
    assert (folder / "tracked.json").is_file()
    rig.check_ledgers(root)
