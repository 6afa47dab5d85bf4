"""Runs of the real command in processes that can be killed, and what every ledger says afterwards."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import psutil
import yaml
from optuna.trial import FrozenTrial, TrialState

from dehazing.pipeline.lease import STALE_AFTER_S, holder
from dehazing.pipeline.store import open_store
from studies import journal
from studies.spaces import NUISANCE
from studies.tracking.experiment import FOLDER
from studies.tracking.identity import results_id
from studies.tracking.tracker import Data, Tracker

CHECKOUT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
EXPERIMENT = "lines-smoke"
LONGEST_S = 400.0  # of any run
RAYS_OWN = ("/raylet", "/gcs_server", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
TINY = {"patch_px": 16, "batch_size": 2, "num_epochs": 2, "steps_per_epoch": 1}
PAIR: dict[str, Any] = {  # two stages searched jointly: five executions for six trials
    "question": "Which pair?",
    "kind": "restorer",
    "objective": {"metric": "val/psnr", "mode": "max"},
    "sampler": "random",
    "num_trials": 6,
    "config": {**TINY, "width": 4},
    "space": {"share_at_T": 0.4, "lambda_decoder": 0.0, "latent_noise": 0.0, "lr": {"choices": [1e-3, 2e-3, 3e-3]}},
    "joint": {
        "hvae": {
            "config": {**TINY, "width": 4, "latent_channels": [2, 2, 2]},
            "space": {"beta": {"choices": [0.01, 0.02]}, "lr": 1e-3},
        }
    },
    "scales": {"smoke": {}},
}


@dataclass(frozen=True)
class Point:
    """The n-th time that a process does what `pattern` matches (sitecustomize.py), killed before or after it."""

    pattern: str
    n: int
    when: str


def write_study(folder: Path, name: str, study: Mapping[str, Any]) -> Path:
    """A study's file."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(dict(study)))
    return path


def start(
    root: Path,
    *words: str,
    points: Sequence[Point] = (),
    trace: Path | None = None,
    stages: Path | None = None,
    uri: str | None = None,
) -> subprocess.Popen[str]:
    """`run WORDS` on a results folder at smoke scale; stages save themselves after every epoch."""
    counts = root.parent / f"{root.name}-counts"
    counts.mkdir(parents=True, exist_ok=True)
    plan = {
        "root": str(root.resolve()),
        "trace": str(trace) if trace else None,
        "points": [{**vars(point), "count": str(counts / str(number))} for number, point in enumerate(points)],
        "checkpoint_every_s": 0.0,
    }
    environment = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE), "FAULTS": json.dumps(plan)}
    if stages is not None:
        environment["FAULTY_STAGES"] = str(stages)
    if uri is not None:
        environment["MLFLOW_TRACKING_URI"] = uri
    return subprocess.Popen(
        [sys.executable, "-m", "studies", "run", *words, "--scale", "smoke", "--storage", str(root)],
        cwd=CHECKOUT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code, and what was said."""
    try:
        _, said = process.communicate(timeout=LONGEST_S)
    except subprocess.TimeoutExpired:
        process.kill()
        _, said = process.communicate()
        raise AssertionError(f"the run must end within {LONGEST_S:g} s, but: {said}") from None
    return process.returncode, said


def until_it_ends(root: Path, *words: str, points: Sequence[Point] = (), most: int = 12) -> int:
    """The same command again and again until it is not killed; the exit code must be 0. Returns the kills."""
    for number in range(most):
        code, said = finish(start(root, *words, points=points))
        if code != -signal.SIGKILL:
            assert code == 0, said
            return number
    raise AssertionError(f"killed {most} times, and never through")


def all_met(root: Path, points: Sequence[Point]) -> bool:
    """Whether every point was met."""
    counts = root.parent / f"{root.name}-counts"
    return all((counts / str(number)).stat().st_size >= point.n for number, point in enumerate(points))


def killed_at_random(root: Path, *words: str, kills: int, seed: int, within_s: float) -> int:
    """Kills the driver or one of its processes at seeded random moments, then lets it end.

    After the death of the driver or of Ray itself the same command is given again. Returns how many kills there were:
    fewer where the study came to its end before.
    """
    chance = random.Random(seed)
    done = 0
    while True:
        process, is_ray = start(root, *words), False
        while done < kills:
            moment_s = time.monotonic() + chance.uniform(0.2, within_s)
            is_driver = chance.random() < 0.6
            while process.poll() is None and time.monotonic() < moment_s:
                time.sleep(0.02)
            if process.poll() is not None:
                break
            workers = [] if is_driver else processes(process.pid)
            chosen = chance.choice(workers) if workers else psutil.Process(process.pid)
            with suppress(psutil.Error):
                is_ray = is_rays_own(chosen)
                chosen.kill()
                done += 1
            if not workers or is_ray:
                break
        code, said = finish(process)
        if code != -signal.SIGKILL and not (is_ray and code):
            assert code == 0, said
            return done


def processes(driver: int) -> list[psutil.Process]:
    """Processes that do the studies' work, the one that tells MLflow, and Ray's own."""
    found = []
    with suppress(psutil.Error):
        for process in psutil.Process(driver).children(recursive=True):
            with suppress(psutil.Error):
                words = process.cmdline()
                is_work = words and (words[0].startswith("ray::") or "studies.tracking.delivering" in words)
                if is_work or is_rays_own(process):
                    found.append(process)
    return sorted(found, key=lambda process: process.pid)


def is_rays_own(process: psutil.Process) -> bool:
    """Whether it is one without which Ray cannot go on, and with it the run."""
    return (process.cmdline() or [""])[0].endswith(RAYS_OWN)


# ---- what the ledgers say


def trials(root: Path) -> dict[str, list[FrozenTrial]]:
    """Search → its trials."""
    storage = journal.storage(root)
    return {name: optuna.load_study(study_name=name, storage=storage).trials for name in journal.names(root)}


def addresses(trial: FrozenTrial) -> list[str]:
    """Of a trial's executions, its own last; none where it never came so far."""
    fields = json.loads(trial.user_attrs.get("executions", "[]"))[-1:]
    return (
        [*fields[0]["upstreams"].values(), f"{fields[0]['kind']}/{trial.user_attrs['fingerprint']}"] if fields else []
    )


def without_seconds(value: Any) -> Any:
    """A record without what differs between two runs of the same."""
    if isinstance(value, Mapping):
        return {k: without_seconds(v) for k, v in value.items() if k not in ("seconds", "device", "memory")}
    return [without_seconds(entry) for entry in value] if isinstance(value, list) else value


def table(root: Path) -> list[tuple[Any, ...]]:
    """(study, number, state, parameters, fingerprint, published numbers of every epoch and of the end)."""
    store = open_store(root)
    result = []
    for name, found in trials(root).items():
        for trial in found:
            (address,) = addresses(trial)[-1:] or [""]
            there = bool(address) and store.has(address)
            numbers = without_seconds(json.loads(store.read(address, "metrics.json"))) if there else None
            result.append((name, trial.number, trial.state.name, trial.params, address, numbers))
    return sorted(result, key=lambda row: row[:2])


def check_ledgers(root: Path, uri: str | None = None, failed: bool = False) -> None:
    """Nothing lost, doubled or left running in Optuna's journal, in the store and in MLflow; they agree."""
    found = trials(root)
    wanted, possible = set(), set()
    for name, rows in found.items():
        assert [trial.number for trial in rows] == list(range(len(rows)))
        states = {trial.state for trial in rows}
        assert states <= ({TrialState.COMPLETE, TrialState.FAIL} if failed else {TrialState.COMPLETE}), (name, states)
        wanted |= {address for t in rows if t.state == TrialState.COMPLETE for address in addresses(t)}
        possible |= {address for t in rows for address in addresses(t)}  # a result may be no number
    for path in root.glob("*/wanted.json"):  # of the confirmation
        possible |= set(json.loads(path.read_text())["addresses"])
    check_store(root, wanted, possible)
    check_mlflow(root, found, uri)


def check_store(root: Path, wanted: set[str], possible: set[str]) -> None:
    """What the trials need is published and nothing else, nobody works on anything, and nothing lies half made."""
    store = open_store(root)
    published = {address for address in store.addresses() if not address.startswith("series/")}
    assert wanted <= published <= possible, (published - possible, wanted - published)
    assert len(list(root.glob("tune/*"))) <= 1, "Tune's scratch is left by the last driver that was killed at most"
    for address, names in store.files().items():
        deadline_s = time.monotonic() + STALE_AFTER_S + 15  # of a lost host it takes as long to say so
        while (owner := holder(store, address)) is not None:
            assert owner.host != socket.gethostname() and time.monotonic() < deadline_s, (address, owner)
            time.sleep(1.0)
        left = [name for name in names if name.startswith("publishing-")]
        assert not left or address not in published, (address, names)  # else dropped by whoever publishes it


def client_of(root: Path, uri: str | None = None) -> Any:
    """MLflow's client of the results folder's database, or of a server."""
    from mlflow.tracking import MlflowClient

    return MlflowClient(uri or f"sqlite:///{root / 'mlflow.db'}")


def check_mlflow(root: Path, found: Mapping[str, list[FrozenTrial]], uri: str | None = None) -> None:
    """One run a key, none open, every epoch's metrics there once, those of what trials build on, too; nothing waits."""
    folder = root / EXPERIMENT / "mlflow"
    assert sorted(p.name for p in folder.iterdir() if p.name.startswith(("spool-", "writer-"))) == []
    client = client_of(root, uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    mine = f"tags.{FOLDER} = '{results_id(root)}'"  # a server has other results folders' runs, too
    runs = client.search_runs([experiment.experiment_id], mine, max_results=5000)
    keys = [run.data.tags["key"] for run in runs]
    assert sorted(keys) == sorted(set(keys)), "a run was doubled"
    by_key = dict(zip(keys, runs, strict=True))
    status = {TrialState.COMPLETE: "FINISHED", TrialState.FAIL: "FAILED", TrialState.PRUNED: "KILLED"}
    assert not [run.data.tags["key"] for run in runs if run.info.status == "RUNNING"], "a run was left running"
    store = open_store(root)
    for name, rows in found.items():
        assert by_key[name].info.status == "FINISHED", name
        for trial in rows:
            run = by_key[f"{name}/{trial.number}"]
            assert run.info.status == status[trial.state], (name, trial.number, run.info.status)
            told = {name.removeprefix(NUISANCE): value for name, value in run.data.params.items()}
            assert {k: str(v) for k, v in trial.params.items()} == told
            if trial.state == TrialState.COMPLETE:
                published = json.loads(store.read(addresses(trial)[-1], "metrics.json"))
                _check_metrics(client, run.info.run_id, published)
        for key in (key for key in keys if key.startswith(f"{name}/")):
            address = key.removeprefix(f"{name}/")
            if "/" not in address:  # a trial's
                continue
            there = store.has(address)  # what trials build on
            assert by_key[key].info.status == ("FINISHED" if there else "FAILED"), (key, by_key[key].info.status)
            if there:
                _check_metrics(client, by_key[key].info.run_id, json.loads(store.read(address, "metrics.json")))


def _check_metrics(client: Any, run_id: str, published: Mapping[str, Any]) -> None:
    for name in {name for epoch in published["history"] for name in epoch if "/" in name}:
        points = client.get_metric_history(run_id, name)
        by_step = {epoch["epoch"]: epoch[name] for epoch in published["history"] if name in epoch}
        assert {point.step for point in points} == set(by_step) | {len(published["history"])}, name
        for step, value in by_step.items():
            values = {point.value for point in points if point.step == step}
            final = published["final"].get(name) if step == len(published["history"]) else None
            assert value in values and values <= {value, final}, (name, step, value, values)
    for name, value in published["final"].items():
        assert value in [point.value for point in client.get_metric_history(run_id, name)], name


# ---- templates, traces, servers


def empty_database(folder: Path) -> Path:
    """A database of MLflow whose tables are made (that takes seconds), without any run of ours."""
    data = Data("lines", "abc", "lines.yaml")
    assert Tracker(folder, "another", {}, data, is_apart=False).close() == ""
    return folder / "mlflow.db"


def prepared(root: Path, database: Path, finished: Path) -> Path:
    """A results folder with an empty database, and with the series of a finished one."""
    root.mkdir(parents=True)
    shutil.copy(database, root / "mlflow.db")
    shutil.copytree(finished / "stages" / "series", root / "stages" / "series")
    return root


def lines_of(trace: Path) -> list[str]:
    """ "OPERATION PATH" of a trace."""
    return [line.split(" ", 1)[1] for line in trace.read_text().splitlines()]


def files_below(root: Path) -> Iterable[str]:
    """Every file, relative."""
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
