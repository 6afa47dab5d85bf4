"""Thousands of trials with next to nothing to do: the driver's CPU time per trial and its memory, early and late.

    python -m benchmarks.trivial [--trials 2000] [--check] [--root PATH] [--out FILE.json]

The real path: the shipped command, the journal, Ray Tune with reused actors, the store, MLflow on SQLite. CPU time is
that of the driver's process with all its threads, taken whenever Optuna is told of an end.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import psutil

from benchmarks.engine import CHECKOUT, machine, prepare

WARM_UP = 100  # trials, before the first hundred: imports, the first actors and MLflow's connection are not a trial's
HUNDRED = 100
PARTS = ("asking", "logging", "others")
BESIDE = ("delivering",)  # to MLflow, in a process of its own: shown, but not the driver's
AT_MOST = {"last / first": 1.5, "CPU ms per trial": 50.0, "memory growth MiB": 200.0}


@dataclass
class Meter:
    """Readings of this process, one per trial that ended."""

    cpu_s: list[float] = field(default_factory=list)  # of all threads
    parts_s: list[dict[str, float]] = field(default_factory=list)  # by part, after every hundred
    memory_mib: list[float] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)

    def read(self) -> None:
        self.cpu_s.append(time.process_time())
        self.memory_mib.append(psutil.Process().memory_info().rss / 2**20)
        self.at_s.append(time.monotonic())
        if len(self.at_s) % HUNDRED == 0:
            self.parts_s.append(_by_part())

    def on_every_end(self) -> None:
        """Read whenever an Optuna study is told of an end."""
        tell = optuna.Study.tell

        @functools.wraps(tell)
        def told(*arguments: Any, **named: Any) -> Any:
            result = tell(*arguments, **named)
            self.read()
            return result

        optuna.Study.tell = told  # type: ignore[method-assign]

    def hundreds(self) -> list[dict[str, float]]:
        """Of every hundred after the warm-up: the last trial, CPU ms per trial, memory, trials per second."""
        result = []
        for end in range(WARM_UP + HUNDRED, len(self.cpu_s) + 1, HUNDRED):
            first, last = end - HUNDRED - 1, end - 1
            before, after = (self.parts_s[n // HUNDRED] for n in (first, last))
            result.append(
                {
                    "trial": end,
                    "cpu_ms": 1000 * (self.cpu_s[last] - self.cpu_s[first]) / HUNDRED,
                    **{
                        f"{name}_ms": 1000 * (after[name] - before.get(name, 0.0)) / HUNDRED
                        for name in (*PARTS, *BESIDE)
                    },
                    "memory_mib": self.memory_mib[last],
                    "per_s": HUNDRED / (self.at_s[last] - self.at_s[first]),
                }
            )
        return result


def _by_part() -> dict[str, float]:
    """CPU seconds so far of the thread that asks and tells, of MLflow's threads, of all others, and beside them."""
    named = {thread.native_id: thread.name.split("-")[0] for thread in threading.enumerate()}
    kinds = {"MainThread": "asking", "mlflow": "logging"}
    result = dict.fromkeys((*PARTS, *BESIDE), 0.0)
    for thread in psutil.Process().threads():
        result[kinds.get(named.get(thread.id, ""), "others")] += thread.user_time + thread.system_time
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended in between
            if "studies.tracking.delivering" in child.cmdline():
                result["delivering"] += sum(child.cpu_times()[:2])
    return result


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
