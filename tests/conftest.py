"""Fast tests first, the slow ones (Ray, MLflow, training) after them; one thread each, so that numbers repeat."""

import os
import shutil
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marker
def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("faults") is not None:
            item.add_marker("slow")
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory):
    """A database of MLflow whose tables are made: making them takes seconds."""
    from tests.tracked import DATA, Tracker

    root = tmp_path_factory.mktemp("mlflow")
    assert Tracker(root, "first", {}, DATA, is_apart=False).close() == ""
    return root / "mlflow.db"


@pytest.fixture
def root(tmp_path: Path, mlflow_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results folder that holds MLflow's empty tables, and no server that is meant instead."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(mlflow_database, tmp_path / "mlflow.db")
    return tmp_path
