"""The same small study done in four ways, one after the other on one machine: what each costs beyond its arithmetic.

    python -m benchmarks.engine joint|lambdas [--ways a,b,c,d] [--scale quickstart|smoke] [--trials N] [--out FILE.json]

a: this engine. b: Ray Tune + OptunaSearch + MLflowLoggerCallback, every trial trains the whole pipeline. c: as b, but
what all trials build on is trained once before. d: Optuna alone, one trial after the other. See README.md here.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import optuna
import psutil

from benchmarks.sweeps import SWEEPS, points_of, read_sweep
from dehazing.data.dataset import read_dataset, with_scale
from dehazing.pipeline.series import ensure_series
from dehazing.pipeline.store import Store
from studies import journal
from studies.reading import FOLDER
from studies.scale import read_scale

CHECKOUT = Path(__file__).resolve().parents[1]
DATASET = FOLDER / "datasets" / "lines.yaml"
WAYS = {"a": "this engine", "b": "Tune, whole pipeline", "c": "Tune, upstreams once", "d": "Optuna alone"}
BOUNDS = {"joint": {"a / b": 1 / 3}, "lambdas": {"a / c": 1.05}}  # on the time of the study
AT_MOST_IDEAL = 1.15


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the ways, print the table; exit code 1 where a way failed or executed something twice that it should not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__.split("\n")[0])
    parser.add_argument("sweep", choices=SWEEPS)
    parser.add_argument("--ways", default="a,b,c,d", help="in the order in which they run; default: a,b,c,d")
    parser.add_argument("--scale", default="quickstart", choices=("quickstart", "smoke"))
    parser.add_argument("--trials", type=int, metavar="N", help="only the first N trials")
    parser.add_argument("--slots", type=int, default=os.cpu_count(), metavar="N", help="default: one per CPU")
    parser.add_argument("--root", type=Path, metavar="PATH", help="where to work and leave all results; default: aside")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="the figures, for the record")
    asked = parser.parse_args(arguments)
    ways = asked.ways.split(",")
    if unknown := sorted(set(ways) - set(WAYS)):
        parser.error(f"--ways must be of {', '.join(WAYS)}, but names {', '.join(unknown)}.")
    with tempfile.TemporaryDirectory() as aside:
        record = compare(asked.root or Path(aside), asked.sweep, ways, asked.scale, asked.trials, asked.slots)
    print(table(record))
    if asked.out is not None:
        asked.out.write_text(json.dumps(record, indent=1) + "\n")
    return 1 if record["problems"] else 0


def compare(
    root: Path, sweep: str, ways: Sequence[str], scale: str, num_trials: int | None, slots: int
) -> dict[str, Any]:
    """The figures of each way, by its letter, and what they were measured on."""
    study = read_sweep(sweep, scale, num_trials)
    series = prepare(root / "prepared", scale)
    ran = {}
    for way in ways:
        say(f"{way}: {WAYS[way]}, {study.num_trials} trials")
        folder = root / f"{sweep}-{way}"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(root / "prepared", folder)
        ran[way] = run(way, sweep, scale, study.num_trials, slots, series, folder)
    record = {
        "sweep": sweep,
        "scale": scale,
        "num_trials": study.num_trials,
        "shortened": num_trials is not None,
        "slots": slots,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "ways": ran,
    }
    found = problems(ran, len(points_of(study)))
    if scale == "quickstart" and num_trials is None:  # elsewhere start-up and the tail weigh too much to mean anything
        found += broken_bounds(sweep, ran)
    return {**record, "problems": found}


def prepare(folder: Path, scale_name: str) -> str:
    """Puts the series and MLflow's empty tables into a folder, which all ways begin with; returns its fingerprint."""
    folder.mkdir(parents=True, exist_ok=True)
    scale, config = read_scale(scale_name), read_dataset(DATASET)
    say("the series")
    series = ensure_series(with_scale(config, scale.dataset.get(config.kind, {})), Store(folder))
    if not (folder / "mlflow.db").is_file():
        code = "import sys, mlflow; mlflow.MlflowClient(sys.argv[1]).search_experiments()"
        address = f"sqlite:///{folder / 'mlflow.db'}"
        subprocess.run([sys.executable, "-c", code, address], check=True, capture_output=True, cwd=folder)
    return series


def run(way: str, sweep: str, scale: str, num_trials: int, slots: int, series: str, folder: Path) -> dict[str, Any]:
    """One way in a process of its own, and what its log of executions says."""
    log = folder / "executions.jsonl"
    begun = time.time()
    with (folder / "said.txt").open("w") as said:
        done = subprocess.run(
            command(way, sweep, scale, num_trials, slots, series, folder),
            cwd=CHECKOUT,
            env=environment(way, slots, log),
            stdout=said,
            stderr=subprocess.STDOUT,
            check=False,
        )
    ended = time.time()
    if done.returncode:
        last = (folder / "said.txt").read_text().strip().splitlines()[-15:]
        raise RuntimeError(f"Way {way} ended with exit code {done.returncode}; it said at last:\n" + "\n".join(last))
    executions = [json.loads(line) for line in log.read_text().splitlines()]
    first = min(execution["begun"] for execution in executions)
    own = json.loads((folder / "record.json").read_text()) if way != "a" else {"values": recorded(folder, num_trials)}
    study_s = ended - first
    arithmetic = sum(execution["arithmetic_s"] for execution in executions)
    distinct: dict[str, list[float]] = {}
    for execution in executions:
        distinct.setdefault(execution["address"], []).append(execution["arithmetic_s"])
    ideal_s = sum(map(mean, distinct.values())) / slots
    return {
        "wall_s": ended - begun,
        "startup_s": first - begun,
        "imports_s": own.get("imports_s"),
        "ray_s": own.get("ray_s"),
        "study_s": study_s,
        "trials_per_hour": num_trials * 3600 / study_s,
        "executions": len(executions),
        "distinct": len(distinct),
        "arithmetic_s": arithmetic,
        "ideal_s": ideal_s,
        "over_ideal": study_s / ideal_s,
        "outside_s_per_trial": (slots * study_s - arithmetic) / num_trials,
        "processes": len({execution["pid"] for execution in executions}),
        "values": own["values"],
    }


def command(way: str, sweep: str, scale: str, num_trials: int, slots: int, series: str, folder: Path) -> list[str]:
    """What is run for a way."""
    python, rest = sys.executable, [sweep, scale, str(num_trials), str(slots), series, str(folder)]
    if way == "d":
        return [python, "-m", "benchmarks.plain_optuna", *rest]
    if way in "bc":
        return [python, "-m", "benchmarks.plain_tune", way, *rest]
    sets = [f"{sweep}.num_trials={num_trials}", f"scale.num_parallel={slots}"]
    words = ["run", f"benchmarks/{sweep}.yaml", "--scale", scale, "--storage", str(folder)]
    return [python, "-m", "studies", *words, *(word for one in sets for word in ("--set", one))]


def environment(way: str, slots: int, log: Path) -> dict[str, str]:
    """One thread a trial, no server, no cluster, no telemetry; executions are noted in `log`."""
    kept = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([str(CHECKOUT / "benchmarks" / "counting"), str(CHECKOUT)]),
        "BENCHMARK_LOG": str(log),
        "OMP_NUM_THREADS": str(slots) if way == "d" else "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def recorded(folder: Path, num_trials: int) -> list[float]:
    """The objective of every trial of (a), from its journal. ValueError where one of them did not end well."""
    (name,) = journal.names(folder)
    trials = optuna.load_study(study_name=name, storage=journal.storage(folder)).get_trials(deepcopy=False)
    values = [trial.values[0] for trial in trials if trial.values]
    if len(values) != num_trials:
        raise ValueError(f"All {num_trials} trials must be complete, but {len(values)} are.")
    return values


def problems(ran: Mapping[str, Mapping[str, Any]], num_trials: int) -> list[str]:
    """What must hold and does not: (a) executes each fingerprint once, and all ways find the same numbers."""
    found = []
    for way, figures in ran.items():
        if way == "a" and figures["executions"] != figures["distinct"]:
            found.append(f"a: {figures['executions']} executions of {figures['distinct']} distinct ones")
        if len(figures["values"]) != num_trials:
            found.append(f"{way}: {len(figures['values'])} of {num_trials} trials came to their end")
        elif (difference := furthest(figures, next(iter(ran.values())))) > 0.01:
            found.append(f"{way}: objectives differ by up to {difference:.3g} from those of {next(iter(ran))}")
    return found


def broken_bounds(sweep: str, ran: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The bounds on (a)'s time that do not hold, of those that were measured."""
    if "a" not in ran:
        return []
    ratios = {f"a / {way}": ran["a"]["study_s"] / figures["study_s"] for way, figures in ran.items()}
    ratios["a / ideal"] = ran["a"]["over_ideal"]
    bounds = {**BOUNDS[sweep], "a / ideal": AT_MOST_IDEAL}
    return [
        f"{name} is {ratios[name]:.3f}, more than {most:.3f}"
        for name, most in bounds.items()
        if ratios.get(name, 0.0) > most
    ]


def furthest(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """The largest difference between two ways' objectives, trial by trial."""
    return max((abs(x - y) for x, y in zip(one["values"], other["values"], strict=False)), default=0.0)


def table(record: Mapping[str, Any]) -> str:
    """The figures as text."""
    ran = record["ways"]
    short = ", SHORTENED by --trials" if record["shortened"] else ""
    lines = [
        f"{record['sweep']}, {record['num_trials']} trials{short}, {record['scale']} scale, {record['slots']} slots, "
        f"{record['machine']}, {record['date']}",
        "",
        f"{'':<24}{'wall s':>8}{'start-up':>10}{'study s':>9}{'trials/h':>10}{'executions':>12}{'distinct':>10}"
        f"{'arithmetic':>12}{'ideal s':>9}{'/ ideal':>9}{'outside s':>11}",
    ]
    for way, f in ran.items():
        lines.append(
            f"{way}  {WAYS[way]:<21}{f['wall_s']:>8.1f}{f['startup_s']:>10.1f}{f['study_s']:>9.1f}"
            f"{f['trials_per_hour']:>10.1f}{f['executions']:>12}{f['distinct']:>10}{f['arithmetic_s']:>12.1f}"
            f"{f['ideal_s']:>9.1f}{f['over_ideal']:>9.2f}{f['outside_s_per_trial']:>11.2f}"
        )
    lines.append("")
    if "a" in ran:
        a = ran["a"]["study_s"]
        lines += [f"a / {way}: {a / f['study_s']:.3f} of the study's time" for way, f in ran.items() if way != "a"]
    difference = max((furthest(f, next(iter(ran.values()))) for f in ran.values()), default=0.0)
    lines.append(f"objectives agree within {difference:.2g}")
    return "\n".join([*lines, *(f"PROBLEM {problem}" for problem in record["problems"])])


def machine() -> str:
    """In words."""
    return f"{os.cpu_count()} CPUs, {psutil.virtual_memory().total / 2**30:.0f} GiB, {platform.machine()}"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
