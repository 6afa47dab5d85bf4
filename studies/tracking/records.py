"""The confirmation in MLflow: every execution, and every trajectory with the step as MLflow's step axis."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store
from studies.executions import flattened
from studies.tracking.tracked import note_tracked
from studies.tracking.tracker import Run, Tracker

MEASURES = (
    *("psnr", "psnr_ri", "ssim", "ms_ssim", "micro_ms3im", "frc_px", "background", "line_f1"),
    *("psnr_structure", "psnr_background"),
    *(f"coherence_{band}" for band in range(4)),
    *("drift", "drift_cosine", "norm_ratio"),
)


def track_confirmation(
    tracker: Tracker,
    store: Store,
    folder: Path,
    wanted: Mapping[tuple[str, int], Execution],
    loops: Sequence[Mapping[str, Any]],
    texts: Mapping[str, str],
) -> None:
    """A run `confirmation` with a child per execution and per variant, the report and its tables as artifacts.

    loops: the settings of the variants. texts: more artifacts, by name. The same confirmation, told again, goes on with
    the same runs.
    """
    top = _key(wanted, loops)
    seeds = ",".join(str(seed) for seed in dict.fromkeys(seed for _, seed in wanted))
    tracker.start(Run(top, "confirmation", tags={"stage": "confirmation", "seed": seeds}, texts=texts))
    tables = []
    for (name, seed), execution in wanted.items():
        key = f"{top}/{name}/{seed}"
        upstreams = {f"upstream.{role}": address for role, address in execution.upstreams.items()}
        tags = {"stage": execution.kind, "fingerprint": execution.fingerprint, "seed": str(seed), **upstreams}
        tracker.start(Run(key, f"{name}, seed {seed}", top, tags, {"instance": name, "seed": seed}, execution.config))
        published = store.folder(execution.address)
        metrics = json.loads((published / "metrics.json").read_text())
        tracker.history(key, metrics["history"], metrics["final"])
        tracker.end(key, "FINISHED")
        if name == "iterative":
            tables.append(pd.read_parquet(published / "evaluation.parquet"))
    _track_trajectories(tracker, top, pd.concat(tables), {loop["name"]: loop for loop in loops}, seeds)
    tracker.artifacts(top, folder / "report", "report")
    tracker.end(top, "FINISHED")
    num_lost = tracker.num_lost
    if tracker.flush() and tracker.num_lost == num_lost:
        note_tracked(folder)


def _key(wanted: Mapping[tuple[str, int], Execution], loops: Sequence[Mapping[str, Any]]) -> str:
    """Another one where anything was chosen otherwise: a run's parameters cannot change."""
    what = [[execution.address for execution in wanted.values()], [dict(loop) for loop in loops]]
    return f"confirmation/{hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]}"


def _track_trajectories(
    tracker: Tracker, top: str, table: pd.DataFrame, loops: Mapping[str, Mapping[str, Any]], seeds: str
) -> None:
    """One run per variant and baseline: means over fields and seeds at each step, by the same names, to overlay."""
    measures = [name for name in MEASURES if name in table.columns]
    for variant, rows in table.groupby("variant", sort=False):
        key = f"{top}/variants/{variant}"
        params = {"variant": variant, **flattened(loops.get(str(variant), {}))}
        tracker.start(Run(key, str(variant), top, {"stage": "trajectory", "seed": seeds}, params))
        for step, means in rows.groupby("step")[measures].mean().iterrows():
            numbers = {f"test/{name}": value for name, value in means.items() if value == value}
            tracker.log(key, numbers, step=int(str(step)))
        tracker.end(key, "FINISHED")
