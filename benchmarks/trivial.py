"""Thousands of trials with next to nothing to do: the driver's CPU time per trial and its memory, early and late.

    python -m benchmarks.trivial [--trials 2000] [--check] [--root PATH] [--out FILE.json]

The real path: the shipped command, the journal, Ray Tune with reused actors, the store, MLflow on SQLite. CPU time is
that of the driver's process with all its threads, taken whenever Optuna is told of an end.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.engine import CHECKOUT, machine, prepare
from benchmarks.meter import HUNDRED, WARM_UP, Meter

AT_MOST = {"last / first": 1.5, "CPU ms per trial": 50.0, "memory growth MiB": 200.0}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the table; with --check exit code 1 where a bound is broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trivial", description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=2000, metavar="N")
    parser.add_argument("--check", action="store_true", help="exit code 1 where a bound is broken")
    parser.add_argument("--root", type=Path, metavar="PATH", help="a results folder to leave; default: aside")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="the figures, for the record")
    asked = parser.parse_args(arguments)
    if asked.trials < WARM_UP + 2 * HUNDRED:
        parser.error(f"--trials must be at least {WARM_UP + 2 * HUNDRED}, but is {asked.trials}.")
    with tempfile.TemporaryDirectory() as aside:
        record = measure(asked.root or Path(aside), asked.trials)
    print(table(record))
    if asked.out is not None:
        asked.out.write_text(json.dumps(record, indent=1) + "\n")
    return 1 if asked.check and record["broken"] else 0


def measure(root: Path, num_trials: int) -> dict[str, Any]:
    """The study in the results folder `root`, in this process. RuntimeError where it does not end well."""
    log = root / "executions.jsonl"
    prepare(root, "smoke")
    paths = [str(CHECKOUT / "benchmarks" / "counting"), str(CHECKOUT)]
    os.environ |= {"BENCHMARK_LOG": str(log), "PYTHONPATH": os.pathsep.join(paths)}
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        os.environ.pop(name, None)
    from studies.__main__ import main as studies

    meter = Meter()
    meter.on_every_end()
    words = ["run", str(CHECKOUT / "benchmarks" / "trivial.yaml"), "--scale", "smoke", "--storage", str(root)]
    code = studies([*words, "--set", f"trivial.num_trials={num_trials}"])
    if code or len(meter.cpu_s) != num_trials:
        raise RuntimeError(f"All {num_trials} trials must end well, but {len(meter.cpu_s)} ended, exit code {code}.")
    meter.read()
    executions = [json.loads(line) for line in log.read_text().splitlines()]
    hundreds = meter.hundreds()
    first, last = hundreds[0], hundreds[-1]
    figures = {
        "last / first": last["cpu_ms"] / first["cpu_ms"],
        "CPU ms per trial": max(first["cpu_ms"], last["cpu_ms"]),
        "memory growth MiB": last["memory_mib"] - meter.memory_mib[WARM_UP - 1],
    }
    return {
        "num_trials": num_trials,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "executions": len(executions),
        "distinct": len({execution["address"] for execution in executions}),
        "actors": len({execution["pid"] for execution in executions}),
        "wall_s": meter.at_s[-2] - meter.at_s[0],
        "closing_s": meter.at_s[-1] - meter.at_s[-2],
        "closing_cpu_ms_per_trial": 1000 * (meter.cpu_s[-1] - meter.cpu_s[-2]) / num_trials,
        "hundreds": hundreds,
        "figures": figures,
        "broken": [name for name, bound in AT_MOST.items() if not figures[name] <= bound],
    }


def table(record: dict[str, Any]) -> str:
    """The figures as text."""
    lines = [
        f"{record['num_trials']} trivial trials, {record['machine']}, {record['date']}: {record['wall_s']:.0f} s, "
        f"then {record['closing_s']:.1f} s to close ({record['closing_cpu_ms_per_trial']:.1f} ms of CPU time a trial)",
        f"{record['executions']} executions of {record['distinct']} distinct ones in {record['actors']} actors",
        "",
        f"{'to trial':>8}{'CPU ms/trial':>14}{'asking':>9}{'logging':>9}{'others':>8}{'(delivering)':>14}"
        f"{'memory MiB':>12}{'trials/s':>10}",
    ]
    for h in record["hundreds"]:
        lines.append(
            f"{h['trial']:>8}{h['cpu_ms']:>14.1f}{h['asking_ms']:>9.1f}{h['logging_ms']:>9.1f}{h['others_ms']:>8.1f}"
            f"{h['delivering_ms']:>14.1f}{h['memory_mib']:>12.0f}{h['per_s']:>10.1f}"
        )
    lines.append("")
    for name, bound in AT_MOST.items():
        verdict = "BROKEN" if name in record["broken"] else "holds"
        lines.append(f"{name:<18}{record['figures'][name]:>8.2f}  at most {bound:g}: {verdict}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
