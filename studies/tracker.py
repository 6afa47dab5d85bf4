"""MLflow as an index: one writer thread, batches, explicit run ids; nothing that happens here stops a study."""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dehazing.pipeline.lease import Owner

BATCH = 1000  # of metrics, the server's limit


@dataclass(frozen=True)
class Run:
    """What a run is made with; `key` names it to the tracker, `run_id` goes on with one that exists."""

    key: str
    name: str
    parent: str | None = None  # the key of another run
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None  # logged whole, as an artifact: long parameters would be cut silently
    run_id: str | None = None
    on_id: Callable[[str], None] | None = None  # told the run's id, from the writer's thread


@dataclass(frozen=True)
class Data:
    """The dataset as MLflow's input of a run."""

    name: str
    digest: str
    source: str


class Tracker:
    """Writes runs of one experiment from a thread of its own. Calls return at once and never raise.

    root: results folder, whose mlflow.db is used unless MLFLOW_TRACKING_URI names a server. What could not be
    written is counted in `num_lost`, with the first reason in `problem`.
    """

    def __init__(self, root: Path, experiment: str, tags: Mapping[str, str], data: Data) -> None:
        self.root, self.experiment, self.tags, self.data = root, experiment, dict(tags), data
        self.num_lost, self.problem = 0, ""
        self._ids: dict[str, str] = {}  # key → run id, of the runs that are open
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._pending: dict[str, list[Any]] = {}  # run id → metrics not written yet
        self._client: Any = None
        self._experiment_id = ""
        self._thread = threading.Thread(target=self._write, name="mlflow-writer", daemon=True)
        self._thread.start()

    def start(self, run: Run) -> None:
        """Open a run."""
        self._queue.put(lambda: self._start(run))

    def log(self, key: str, metrics: Mapping[str, Any], step: int, at_s: float | None = None) -> None:
        """Metrics of an open run at a step; what is not a number is left out."""
        numbers = {k: float(v) for k, v in metrics.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
        now_ms = int((time.time() if at_s is None else at_s) * 1000)
        self._queue.put(lambda: self._log(key, numbers, step, now_ms))

    def tag(self, key: str, name: str, value: str) -> None:
        """A tag of an open run."""
        self._queue.put(lambda: self._client.set_tag(self._ids[key], name, value))

    def artifacts(self, key: str, folder: Path, under: str) -> None:
        """The files of a folder, put under `under`."""
        self._queue.put(lambda: self._client.log_artifacts(self._ids[key], str(folder), under))

    def end(self, key: str, status: str) -> None:
        """Close a run: FINISHED, FAILED or KILLED."""
        self._queue.put(lambda: self._end(key, status))

    def call(self, function: Callable[[], None]) -> None:
        """Run something in the writer's thread once all that was asked before is written."""
        self._queue.put(function)

    def close(self, timeout_s: float = 60.0) -> None:
        """Write what is waiting and close what is open as KILLED."""
        self._queue.put(self._end_all)
        self._queue.put(None)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._lost(f"MLflow did not answer within {timeout_s:.0f} s", self._queue.qsize())

    def _write(self) -> None:
        try:
            self._connect()
        except Exception as error:
            self._lost(_sentence(error), 1)
            self._client = None
        while (item := self._queue.get()) is not None:
            try:
                if self._client is not None:
                    item()
                    if self._queue.empty():
                        self._flush()
                else:
                    self._lost(self.problem, 1)
            except Exception as error:
                self._lost(_sentence(error), 1)

    def _connect(self) -> None:
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow.tracking import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        client = MlflowClient(tracking_uri=uri or f"sqlite:///{self.root / 'mlflow.db'}")
        found = client.get_experiment_by_name(self.experiment)
        if found is None:
            location = None if uri else (self.root / "mlartifacts" / self.experiment).as_uri()
            self._experiment_id = client.create_experiment(self.experiment, artifact_location=location)
        else:
            self._experiment_id = found.experiment_id
        for run in client.search_runs([self._experiment_id], "attributes.status = 'RUNNING'", max_results=1000):
            owner = Owner(**json.loads(run.data.tags["owner"])) if "owner" in run.data.tags else None
            if owner is None or owner.is_gone() or owner == Owner.myself():
                client.set_terminated(run.info.run_id, status="KILLED")
        self._client = client

    def _start(self, run: Run) -> None:
        from mlflow.entities import Dataset, DatasetInput, Param, RunTag

        tags = {**self.tags, **run.tags, "owner": json.dumps(asdict(Owner.myself()))}
        if run.run_id is not None and self._knows(run.run_id):
            self._client.update_run(run.run_id, status="RUNNING")
            self._client.set_tag(run.run_id, "owner", tags["owner"])
            self._ids[run.key] = run.run_id
            return
        if run.parent is not None:
            tags["mlflow.parentRunId"] = self._ids[run.parent]
        run_id = self._client.create_run(self._experiment_id, run_name=run.name).info.run_id
        self._ids[run.key] = run_id
        params = [Param(name, str(value)) for name, value in run.params.items()]
        self._client.log_batch(run_id, params=params, tags=[RunTag(name, str(value)) for name, value in tags.items()])
        dataset = Dataset(self.data.name, self.data.digest, "local", self.data.source)
        self._client.log_inputs(run_id, [DatasetInput(dataset)])
        if run.config is not None:
            self._client.log_dict(run_id, dict(run.config), "config.json")
        if run.on_id is not None:
            run.on_id(run_id)

    def _knows(self, run_id: str) -> bool:
        """Whether the database still has the run: it may have been deleted, which the journal does not know."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        return True

    def _log(self, key: str, numbers: Mapping[str, float], step: int, now_ms: int) -> None:
        from mlflow.entities import Metric

        waiting = self._pending.setdefault(self._ids[key], [])
        waiting += [Metric(name, value, now_ms, step) for name, value in numbers.items()]

    def _flush(self) -> None:
        while self._pending:
            run_id, metrics = self._pending.popitem()
            for first in range(0, len(metrics), BATCH):
                self._client.log_batch(run_id, metrics=metrics[first : first + BATCH])

    def _end(self, key: str, status: str) -> None:
        run_id = self._ids.pop(key)
        metrics = self._pending.pop(run_id, [])
        for first in range(0, len(metrics), BATCH):
            self._client.log_batch(run_id, metrics=metrics[first : first + BATCH])
        self._client.set_terminated(run_id, status=status)

    def _end_all(self) -> None:
        self._flush()
        for key in list(self._ids):
            self._end(key, "KILLED")

    def _lost(self, reason: str, num: int) -> None:
        self.num_lost += num
        self.problem = self.problem or reason


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
