"""Fast tests first, the slow ones (Ray, MLflow, training) after them; one thread each, so that numbers repeat."""

import os

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
