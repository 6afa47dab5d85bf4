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


@pytest.fixture(scope="session")
def restorable(tmp_path_factory):
    """A results folder with a confirmed experiment to restore images with; its networks take a while to train."""
    from tests.restorable import make

    root = tmp_path_factory.mktemp("results")
    make(root, tmp_path_factory.mktemp("series"))
    return root


@pytest.fixture(scope="module")
def s3():
    """The URI of a bucket, with a place left for a folder in it."""
    from tests.object_places import HAS_MOTO, serving_s3

    if not HAS_MOTO:
        pytest.skip("moto plays S3; `pip install -c constraints.txt -e '.[dev]'` installs it")
    with serving_s3() as uri:
        yield uri


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.slow)])
def scheme(request):
    """Of the object store that `store` and `elsewhere` are."""
    return request.param


@pytest.fixture
def place(scheme, tmp_path, request):
    if scheme == "file":
        return (tmp_path / "objects").as_uri()
    return request.getfixturevalue("s3").format(folder=tmp_path.name)


@pytest.fixture
def store(place, scheme, tmp_path):
    from dehazing.pipeline.object_store import ObjectStore
    from tests.object_places import SETTLE_S

    return ObjectStore(place, tmp_path / "cache", SETTLE_S[scheme])


@pytest.fixture
def elsewhere(place, scheme, tmp_path):
    """The same store as another machine sees it."""
    from dehazing.pipeline.object_store import ObjectStore
    from tests.object_places import SETTLE_S

    return ObjectStore(place, tmp_path / "cache elsewhere", SETTLE_S[scheme])
