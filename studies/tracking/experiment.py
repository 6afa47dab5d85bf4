"""One experiment in MLflow: the runs that a results folder has there, found by key, and where their artifacts lie.

A run carries its `key` as a tag, and the id of its results folder, as folders may share a server; by both it is found.
In the folder's own database an artifact's address is relative to what MLflow's server serves, `mlartifacts` of the
folder that it is started in: so a folder that is moved keeps its artifacts.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from studies.tracking.database import database
from studies.tracking.identity import results_id
from studies.tracking.ledger import Ledger

FOLDER = "results_folder"  # tag of a run: the id of the results folder that it is of
ARTIFACTS = "mlartifacts"  # what MLflow's server serves of the folder that it is started in, by default


class Experiment:
    """An experiment of a results folder. `note`: one sentence on where MLflow's pages miss artifacts, or ""."""

    def __init__(self, root: Path, name: str, ledger: Ledger) -> None:
        self.root, self.name, self.ledger = root, name, ledger
        self.client: Any = None
        self.id = self.folder = self.note = ""  # ids: MLflow's of the experiment, ours of the results folder
        self._moved_from = ""  # address of the artifacts where the folder was when the experiment was made

    def connect(self) -> None:
        """Find the experiment, or make it, and learn which runs it has; any exception means that MLflow is away."""
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # tried again by whoever delivers
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow.tracking import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        client = MlflowClient(tracking_uri=uri or database(self.root))
        self.folder = results_id(self.root)
        with self.ledger.alone():
            found = client.get_experiment_by_name(self.name)
            if found is None:
                location = None if uri else f"mlflow-artifacts:/{re.sub(r'[^A-Za-z0-9_.-]', '_', self.name)}"
                self.id = client.create_experiment(self.name, artifact_location=location)
                self.ledger.filled(self.id)
            else:
                self.id = found.experiment_id
                if found.lifecycle_stage == "deleted":
                    client.restore_experiment(found.experiment_id)
                if not uri:
                    self._look_at(found.artifact_location)
            self.client = client
            if not self.ledger.is_filled(self.id):
                self.ledger.add({run.data.tags["key"]: run.info.run_id for run in self.search("tags.key LIKE '%'")})
                self.ledger.filled(self.id)

    def answers(self) -> bool:
        """Whether MLflow is well."""
        try:
            self.client.get_experiment(self.id)
        except Exception:  # whatever it is, it is not
            return False
        return True

    def search(self, condition: str) -> list[Any]:
        """The runs of this results folder for which a condition holds."""
        condition = f"{condition} AND tags.{FOLDER} = '{self.folder}'"
        found = self.client.search_runs([self.id], condition, max_results=1000)
        runs = list(found)
        while found.token:
            found = self.client.search_runs([self.id], condition, max_results=1000, page_token=found.token)
            runs += found
        return runs

    def found(self, key: str, search: bool) -> Any:
        """The run of a key as MLflow has it now, or None; search: whether it may have one that the ledger lacks."""
        known = self.ledger.run_id(key)
        run = None if known is None else self.active(known)
        if run is None and (search or known is not None):
            quote = '"' if "'" in key else "'"
            runs = self.search(f"tags.key = {quote}{key}{quote}")
            if runs:
                self.ledger.add({key: runs[0].info.run_id})
                run = self.client.get_run(runs[0].info.run_id)
        return run

    def active(self, run_id: str) -> Any:
        """The run, or None where it was deleted, or is in another database."""
        from mlflow.exceptions import MlflowException

        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return run if run.info.lifecycle_stage == "active" else None

    def artifacts(self, run: Any) -> Any:
        """MLflow's repository of the artifacts of a run."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        address: str = run.info.artifact_uri
        served = urlsplit(address)
        if not self.ledger.place and served.scheme == "mlflow-artifacts":  # served by nobody now: the files themselves
            address = (self.root / ARTIFACTS / served.path.lstrip("/")).as_uri()
        elif self._moved_from and address.startswith(self._moved_from):
            address = self._own_place().as_uri() + address.removeprefix(self._moved_from)
        return get_artifact_repository(address, tracking_uri=self.client.tracking_uri)

    def _look_at(self, location: str) -> None:
        """Whether the artifacts of an experiment with an absolute address lie in the results folder still."""
        parts = urlsplit(location)
        if parts.scheme != "file" or Path(url2pathname(parts.path)).resolve().is_relative_to(self.root.resolve()):
            return
        self._moved_from = location.rstrip("/")
        self.note = (
            f"MLflow's pages look for the artifacts of {self.name} in {url2pathname(parts.path)}, as the results "
            f"folder lay there when the experiment was made; they are in {self._own_place()}."
        )

    def _own_place(self) -> Path:
        return self.root / ARTIFACTS / self._moved_from.rpartition("/")[2]
