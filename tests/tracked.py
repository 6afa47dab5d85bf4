"""Trackers of one experiment on a results folder with MLflow's own database, and what MLflow then has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from studies.tracking.tracker import Data, Tracker

DATA = Data("lines", "abc", "lines.yaml")
REPOSITORY = Path(__file__).parents[1]


def client_of(root: Path) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(f"sqlite:///{root / 'mlflow.db'}")


def all_runs(root: Path, experiment: str = "lines-smoke") -> list[Any]:
    client = client_of(root)
    found = client.get_experiment_by_name(experiment)
    return [] if found is None else list(client.search_runs([found.experiment_id], max_results=1000))


def runs(root: Path) -> dict[str, Any]:
    """Name → run; no name may be there twice."""
    found = all_runs(root)
    assert len({run.info.run_name for run in found}) == len(found), "a run was doubled"
    return {run.info.run_name: run for run in found}


def points(root: Path, run: Any, metric: str) -> list[tuple[int, float]]:
    return sorted((p.step, p.value) for p in client_of(root).get_metric_history(run.info.run_id, metric))


def tracking(root: Path, is_apart: bool = False) -> Tracker:
    return Tracker(root, "lines-smoke", {"git_commit": "c0ffee"}, DATA, is_apart=is_apart)
