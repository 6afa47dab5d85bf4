"""Ten thousand trials that sleep, 32 side by side: what the driver can do, and what it takes.

    python -m benchmarks.simulated [--trials 10000] [--slots 32] [--nodes 1] [--check] [--root PATH] [--out FILE.json]
    python -m benchmarks.simulated --workers [--trials 600] [--slots 32]     two worker nodes against one

The driver is the real one: the shipped command, Optuna's journal, Ray Tune with reused actors on a cluster, the store,
MLflow on SQLite. Only the trainable is replaced, by one that sleeps (`simulated_trial.py`).
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.engine import CHECKOUT, machine, prepare
from benchmarks.ideal import steady
from benchmarks.meter import HUNDRED, WARM_UP, Meter
from benchmarks.nodes import nodes
from benchmarks.rows import num_rows
from benchmarks.simulated_trial import ACTORS, FINAL, LOG, MEAN_S, SimulatedTrial

AT_MOST = {"wall / ideal": 1.15, "CPU ms per trial": 50.0}
AT_LEAST = 1.9  # times the throughput of one node, with two
MEAN = 2.8  # seconds of a trial
SHOWN = 10  # of the hundreds, at most


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the table; with --check exit code 1 where a bound is broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulated", description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, metavar="N", help="default: 10000; with --workers 600")
    parser.add_argument("--slots", type=int, default=32, metavar="N", help="of all nodes together; default: 32")
    parser.add_argument("--nodes", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument("--mean", type=float, metavar="S", help="seconds of a trial; default: 2.8; with --workers 5.6")
    parser.add_argument("--sampler", default="random", help="default: random, which takes next to nothing itself")
    parser.add_argument("--workers", action="store_true", help="two nodes against one, which has half of the slots")
    parser.add_argument("--check", action="store_true", help="exit code 1 where a bound is broken")
    parser.add_argument("--root", type=Path, metavar="PATH", help="a results folder to leave; default: aside")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="the figures, for the record")
    asked = parser.parse_args(arguments)
    num_trials = asked.trials or (600 if asked.workers else 10_000)
    mean_s = asked.mean or (2 * MEAN if asked.workers else MEAN)  # all nodes are this machine, which must not be full
    if num_trials < WARM_UP + HUNDRED:
        parser.error(f"--trials must be at least {WARM_UP + HUNDRED}, but is {num_trials}.")
    if asked.slots % (2 if asked.workers else asked.nodes):
        parser.error(f"--slots must divide among the nodes, but is {asked.slots}.")
    with tempfile.TemporaryDirectory() as aside:
        root = asked.root or Path(aside)
        if asked.workers:
            record = compare(root, num_trials, asked.slots, mean_s)
        else:
            record = measure(root, num_trials, asked.slots, asked.nodes, mean_s, asked.sampler)
    print(table_of_workers(record) if asked.workers else table(record))
    if asked.out is not None:
        asked.out.write_text(json.dumps(record, indent=1) + "\n")
    return 1 if asked.check and record["broken"] else 0


def measure(root: Path, num_trials: int, slots: int, num_nodes: int, mean_s: float, sampler: str) -> dict[str, Any]:
    """The study in the results folder `root`, in this process. RuntimeError where it does not end well."""
    root.mkdir(parents=True, exist_ok=True)
    root, log = root.resolve(), root.resolve() / "executions.jsonl"
    prepare(root, "smoke")
    os.environ |= {LOG: str(log), MEAN_S: str(mean_s), ACTORS: str(slots), "OMP_NUM_THREADS": "1"}
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    from studies.__main__ import main as studies

    for kind in FINAL:
        setattr(importlib.import_module(f"trainables.{kind}"), "TRAINABLE", SimulatedTrial)  # noqa: B010
    meter = Meter(lambda study: "/simulated/" in study.study_name)
    meter.on_every_end()
    settings = [f"simulated.num_trials={num_trials}", f"simulated.sampler={sampler}"]
    settings += ["hvae.num_trials=1", "restorer.num_trials=1"]
    words = ["run", str(CHECKOUT / "benchmarks" / "simulated.yaml"), "--scale", "smoke", "--storage", str(root)]
    with nodes(num_nodes, slots // num_nodes) as address:
        os.environ["RAY_ADDRESS"] = address
        code = studies([*words, *(word for setting in settings for word in ("--set", setting))])
        del os.environ["RAY_ADDRESS"]
    if code or len(meter.cpu_s) != num_trials:
        raise RuntimeError(f"All {num_trials} trials must end well, but {len(meter.cpu_s)} ended, exit code {code}.")
    ended_s = meter.at_s[-1]
    meter.read()
    executions = [json.loads(line) for line in log.read_text().splitlines()]
    executions = [one for one in executions if one["address"].startswith("degrader/")]
    since_s, wall_s, ideal_s = steady(executions, slots, ended_s)
    begun = [one["begun"] for one in executions if one["begun"] > since_s]
    hundreds = meter.hundreds()
    cpu_ms = 1000 * (meter.cpu_s[num_trials - 1] - meter.cpu_s[WARM_UP - 1]) / (num_trials - WARM_UP)
    figures = {"wall / ideal": wall_s / ideal_s, "CPU ms per trial": max(cpu_ms, hundreds[-1]["cpu_ms"])}
    files = [path.stat().st_size for path in (root / "stages" / "degrader").rglob("*") if path.is_file()]
    rows = num_rows(root / "mlflow.db")
    told_s = meter.at_s[-1] - meter.at_s[0]
    return {
        **{"num_trials": num_trials, "slots": slots, "nodes": num_nodes, "mean_s": mean_s, "sampler": sampler},
        **{"date": time.strftime("%Y-%m-%d"), "machine": machine()},
        "executions": len(executions),
        "distinct": len({one["address"] for one in executions}),
        "actors": len({one["pid"] for one in executions}),
        **{"wall_s": wall_s, "ideal_s": ideal_s, "per_s": len(begun) / (max(begun) - since_s)},
        "closing_s": meter.at_s[-1] - ended_s,
        "cpu_ms": {"first": hundreds[0]["cpu_ms"], "last": hundreds[-1]["cpu_ms"], "mean": cpu_ms},
        "memory_mib": {"first": meter.memory_mib[WARM_UP - 1], "last": meter.memory_mib[num_trials - 1]},
        "rows": rows,
        "rows_per_s": sum(rows.values()) / told_s,
        "files_per_s": len(files) / (ended_s - meter.at_s[0]),
        "mib_per_s": sum(files) / 2**20 / (ended_s - meter.at_s[0]),
        "journal_kib_per_trial": (root / "optuna" / "journal.log").stat().st_size / 1024 / num_trials,
        "database_kib_per_trial": (root / "mlflow.db").stat().st_size / 1024 / num_trials,
        "hundreds": hundreds,
        "figures": figures,
        "broken": [name for name, bound in AT_MOST.items() if not figures[name] <= bound],
    }


def compare(root: Path, num_trials: int, slots: int, mean_s: float) -> dict[str, Any]:
    """One worker node with half of the slots, then two, each in a process of its own."""
    found = []
    for num in (1, 2):
        folder = root / f"nodes-{num}"
        words = ["--trials", str(num_trials), "--slots", str(num * slots // 2), "--nodes", str(num)]
        words += ["--mean", str(mean_s), "--root", str(folder), "--out", str(root / f"nodes-{num}.json")]
        root.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "benchmarks.simulated", *words], check=True, cwd=CHECKOUT)
        found.append(json.loads((root / f"nodes-{num}.json").read_text()))
    ratio = found[1]["per_s"] / found[0]["per_s"]
    return {"nodes": found, "ratio": ratio, "broken": [] if ratio >= AT_LEAST else ["ratio"]}


def table(record: dict[str, Any]) -> str:
    """The figures as text."""
    r = record
    rows = ", ".join(f"{num} {name}" for name, num in r["rows"].items())
    lines = [
        f"{r['num_trials']} simulated trials of {r['mean_s']:g} s, {r['slots']} slots on {r['nodes']} node(s), "
        f"{r['sampler']}, {r['machine']}, {r['date']}",
        f"{r['wall_s']:.1f} s with every slot at work, ideal {r['ideal_s']:.1f} s, {r['per_s']:.2f} trials/s; "
        f"then {r['closing_s']:.1f} s to close",
        f"{r['executions']} executions of {r['distinct']} distinct ones in {r['actors']} actors",
        f"MLflow: {rows}: {r['rows_per_s']:.0f} rows/s, {r['database_kib_per_trial']:.0f} KiB a trial",
        f"store: {r['files_per_s']:.1f} files/s, {r['mib_per_s']:.2f} MiB/s; "
        f"journal {r['journal_kib_per_trial']:.1f} KiB a trial",
        "memory of the driver: {first:.0f} MiB after the warm-up, {last:.0f} MiB at the end".format(**r["memory_mib"]),
        "CPU ms a trial: first hundred {first:.1f}, last {last:.1f}, mean {mean:.1f}".format(**r["cpu_ms"]),
        "",
        f"{'to trial':>8}{'CPU ms/trial':>14}{'asking':>9}{'logging':>9}{'others':>8}{'(delivering':>13}{'Ray':>8}"
        f"{'actors)':>9}{'memory MiB':>12}{'trials/s':>10}",
    ]
    hundreds = r["hundreds"]
    every = max(1, len(hundreds) // SHOWN)
    for h in [h for n, h in enumerate(hundreds, 1) if n == 1 or n % every == 0]:
        lines.append(
            f"{h['trial']:>8}{h['cpu_ms']:>14.1f}{h['asking_ms']:>9.1f}{h['logging_ms']:>9.1f}{h['others_ms']:>8.1f}"
            f"{h['delivering_ms']:>13.1f}{h['ray_ms']:>8.1f}{h['actors_ms']:>9.1f}{h['memory_mib']:>12.0f}"
            f"{h['per_s']:>10.1f}"
        )
    lines.append("")
    for name, bound in AT_MOST.items():
        verdict = "BROKEN" if name in r["broken"] else "holds"
        lines.append(f"{name:<18}{r['figures'][name]:>8.2f}  at most {bound:g}: {verdict}")
    return "\n".join(lines)


def table_of_workers(record: dict[str, Any]) -> str:
    """One node beside two, as text."""
    one, two = record["nodes"]
    verdict = "BROKEN" if record["broken"] else "holds"
    return (
        f"{one['slots']} slots on one node: {one['per_s']:.2f} trials/s; {two['slots']} on two: {two['per_s']:.2f}\n"
        f"{record['ratio']:.2f} times, at least {AT_LEAST:g}: {verdict}"
    )


if __name__ == "__main__":
    sys.exit(main())
