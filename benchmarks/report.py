"""The report on 10,000 trials and a million rows of trajectories: its time and its memory.

    python -m benchmarks.report [--trials 10000] [--fields 800] [--check] [--root PATH] [--out FILE.json]

The experiment is the planted one of the tests, larger: no stage is run. Time is the wall clock's from the call to the
written page; memory is the highest that this process ever held, the making of the tables included.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.report import write_report
from benchmarks.engine import CHECKOUT, machine

sys.path.insert(0, str(CHECKOUT / "tests"))
import planted_experiment

SEEDS, T = (1, 2, 3, 4, 5), 7
LOWER = {"direct": {3: -1.0, 2: -0.5, 1: 0.0}, "combine_z0_first": {3: -0.5, 2: -0.2, 1: 0.0}}  # gaps in dB by start
AT_MOST = {"seconds": 60.0, "memory MiB": 2 * 1000**3 / 2**20}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=str(__doc__).splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000, help="of three studies together (10000)")
    parser.add_argument("--fields", type=int, default=800, help="of the confirmation; five seeds, T = 7 (800)")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a bound is broken")
    parser.add_argument("--root", type=Path, help="a new folder to keep (default: one that is removed)")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    given = parser.parse_args(arguments)
    if given.trials < 3 or given.fields < 2:
        parser.error(f"--trials must be at least 3 and --fields at least 2, not {given.trials} and {given.fields}.")
    if given.root is not None and given.root.exists():
        parser.error(f"{given.root} is there already: give a new folder.")
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(given.root or Path(scratch) / "results", given.trials, given.fields)
    for name, value in figures.items():
        print(f"{name:<14}{value:>12,.1f}" if isinstance(value, float) else f"{name:<14}{value:>12,}")
    broken = [f"{name} {figures[name]:.1f} > {bound:.1f}" for name, bound in AT_MOST.items() if figures[name] > bound]
    print(f"broken: {'; '.join(broken)}" if broken else "all bounds hold")
    if given.out:
        given.out.write_text(json.dumps(figures | {"machine": machine(), "broken": broken}, indent=1))
    return int(given.check and bool(broken))


def measure(root: Path, num_trials: int, num_fields: int) -> dict[str, Any]:
    """Plants the experiment below `root`, writes its report, and returns what that took."""
    experiment = planted_experiment.plant(root, seeds=SEEDS, T=T, num_fields=num_fields, lower=LOWER)
    (root / experiment / "trials.json").write_text(json.dumps(trials(num_trials)))
    started = time.monotonic()
    page = write_report(root, experiment)
    seconds = time.monotonic() - started
    rows = len(pd.read_parquet(page.parent / "trajectories.parquet", columns=["step"]))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"trials": num_trials, "rows": rows, "seconds": seconds, "memory MiB": memory}


def trials(num_trials: int) -> list[dict[str, Any]]:
    """Records as the studies write them: a third each of a degrader's, a baseline's and the loop's study."""
    rng = np.random.default_rng(0)

    def degrader() -> tuple[dict[str, Any], str]:
        lambdas = {"lambda_cyc": float(10 ** rng.uniform(0, 2)), "lambda_cos": float(10 ** rng.uniform(0, 1))}
        return {**lambdas, "lr": float(10 ** rng.uniform(-4, -2)), "shared": bool(rng.integers(2))}, "val/psnr_direct"

    def unet() -> tuple[dict[str, Any], str]:
        return {"lr": float(10 ** rng.uniform(-4, -2)), "share_at_T": float(rng.uniform(0, 0.75))}, "val/psnr"

    def iterative() -> tuple[dict[str, Any], str]:
        variant, match = rng.choice(["direct", "combine_z", "refine_G"]), rng.choice(["none", "moments"])
        return {"variant": str(variant), "match": str(match)}, "val/gap_db"

    records = []
    for number in range(num_trials):
        drawn = (degrader, unet, iterative)[number % 3]
        params, metric = drawn()
        records.append(
            {"study": drawn.__name__, "stage": drawn.__name__, "number": number // 3, "state": "COMPLETE", "seed": 0}
            | {"seconds": 3.0, "params": params, "metrics": {metric: float(rng.normal(30, 2))}}
            | {"fingerprint": f"{number:016x}", "upstreams": {}, "mlflow_run_id": None, "device": "cpu", "reason": None}
        )
    return records


if __name__ == "__main__":
    sys.exit(main())
