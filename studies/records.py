"""The confirmation in MLflow: every execution, and every trajectory with the step as MLflow's step axis."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store
from studies.executions import flattened
from studies.tracker import Run, Tracker

MEASURES = ("psnr", "psnr_ri", "ssim", "drift", "drift_cosine", "norm_ratio")


def track_confirmation(
    tracker: Tracker,
    store: Store,
    folder: Path,
    wanted: Mapping[tuple[str, int], Execution],
    loops: Sequence[Mapping[str, Any]],
) -> None:
    """A run `confirmation` with a child per execution and per variant, the report and its tables as artifacts.

    loops: the settings of the variants.
    """
    seeds = ",".join(str(seed) for seed in dict.fromkeys(seed for _, seed in wanted))
    tracker.start(Run("confirmation", "confirmation", tags={"stage": "confirmation", "seed": seeds}))
    tables = []
    for (name, seed), execution in wanted.items():
        key = f"confirmation/{name}/{seed}"
        upstreams = {f"upstream.{role}": address for role, address in execution.upstreams.items()}
        tags = {"stage": execution.kind, "fingerprint": execution.fingerprint, "seed": str(seed), **upstreams}
        tracker.start(
            Run(key, f"{name}, seed {seed}", "confirmation", tags, {"instance": name, "seed": seed}, execution.config)
        )
        published = store.folder(execution.address)
        metrics = json.loads((published / "metrics.json").read_text())
        for epoch in metrics["history"]:
            tracker.log(key, {k: v for k, v in epoch.items() if "/" in k}, step=int(epoch["epoch"]))
        tracker.log(key, metrics["final"], step=len(metrics["history"]))
        tracker.end(key, "FINISHED")
        if name == "iterative":
            tables.append(pd.read_parquet(published / "evaluation.parquet"))
    _track_trajectories(tracker, pd.concat(tables), {loop["name"]: loop for loop in loops}, seeds)
    tracker.artifacts("confirmation", folder / "report", "report")
    tracker.end("confirmation", "FINISHED")
    tracker.call(lambda: None if tracker.num_lost else _mark(folder))


def _track_trajectories(
    tracker: Tracker, table: pd.DataFrame, loops: Mapping[str, Mapping[str, Any]], seeds: str
) -> None:
    """One run per variant and baseline: means over fields and seeds at each step, by the same names, to overlay."""
    measures = [name for name in MEASURES if name in table.columns]
    for variant, rows in table.groupby("variant", sort=False):
        key = f"confirmation/variants/{variant}"
        params = {"variant": variant, **flattened(loops.get(str(variant), {}))}
        tracker.start(Run(key, str(variant), "confirmation", {"stage": "trajectory", "seed": seeds}, params))
        for step, means in rows.groupby("step")[measures].mean().iterrows():
            numbers = {f"test/{name}": value for name, value in means.items() if value == value}
            tracker.log(key, numbers, step=int(str(step)))
        tracker.end(key, "FINISHED")


def _mark(folder: Path) -> None:
    (folder / "tracked.json").write_text(json.dumps({"tracked": True}))
