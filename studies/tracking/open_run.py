"""A run that MLflow is told about: what it has, and what waits to be sent in one batch."""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from studies.tracking.experiment import Experiment
from studies.tracking.links import linked
from studies.tracking.spool import Record
from studies.tracking.views import tag_of

MAX_TAG = 5000  # characters
NOTE = "mlflow.note.content"  # tag of a run, or of an experiment: its description, in Markdown


class OpenRun:
    """One run, as MLflow `found` it; `record` is what it was started with, None where that was otherwise."""

    def __init__(
        self, experiment: Experiment, run: Any, record: Record | None, *, is_new: bool, keeps_tags: bool = False
    ) -> None:
        """run: as MLflow gives it. is_new: nobody else told MLflow anything about it.

        keeps_tags: what comes is older than the tags that the run has.
        """
        self.record = record
        self.run_id: str = run.info.run_id
        self.was_made_again = False
        self.metrics: list[Any] = []
        self.params: list[Any] = []
        self.tags: list[Any] = []
        self._client, self._began_ms = experiment.client, run.info.start_time
        self._experiment, self.found = experiment, run
        self._kept_tags = set(run.data.tags) if keeps_tags else set()
        self._unasked = set() if is_new else set(run.data.metrics)  # metrics whose points are not in `_points` yet
        self._points: dict[tuple[str, int], float] = {}  # (metric, step) → value

    def log(self, record: Record) -> None:
        """Metrics at a step, but not what is there already."""
        numbers = {name: _bounded(value) for name, value in record["metrics"].items()}
        self._ask(numbers)
        self._add(self._changed(numbers, record["step"]), record["step"], record["at_ms"])

    def history(self, record: Record) -> None:
        """Only what is missing; the final numbers also where the last epoch's differ, as the newer ones."""
        epochs = [(int(epoch["epoch"]), _numbers(epoch)) for epoch in record["epochs"]]
        final = _numbers(record["final"])
        self._ask({name for _, numbers in epochs for name in numbers} | set(final))
        for step, numbers in epochs:
            missing = {name: value for name, value in numbers.items() if (name, step) not in self._points}
            self._add(missing, step, record["at_ms"])
        self._add(self._changed(final, len(epochs)), len(epochs), record["at_ms"] + 1)

    def system(self, record: Record) -> None:
        """Figures of the machine, at the second of the run: that goes on where the run is continued."""
        from mlflow.entities import Metric

        step = max(0, (record["at_ms"] - self._began_ms) // 1000)
        self.metrics += [Metric(name, value, record["at_ms"], step) for name, value in record["metrics"].items()]

    def tag(self, record: Record) -> None:
        """A tag; the newest of a name holds."""
        self.add_tags({record["name"]: record["value"]})

    def describe(self, record: Record) -> None:
        """The description that MLflow shows of the run, and the views of the runs below it that it leads to."""
        views = [link["view"] for link in record["links"].values() if link.get("view") and not self._kept_tags]
        for view in views:
            self._client.set_experiment_tag(self._experiment.id, *tag_of(view, self.run_id, record["at_ms"]))
        self.add_tags({NOTE: self._linked(record)})

    def about(self, record: Record) -> None:
        """The description of the experiment; nothing where something newer was told."""
        if not self._kept_tags:
            self._client.set_experiment_tag(self._experiment.id, NOTE, self._linked(record))

    def artifacts(self, record: Record) -> None:
        """The files of a folder, and where they are to lie alone, no others."""
        folder, under = Path(record["folder"]), record["under"]
        repository = self._experiment.artifacts(self.found)
        repository.log_artifacts(str(folder), under or None)
        if record.get("alone"):
            kept = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
            for path in files_under(repository, under):
                if path.removeprefix(f"{under}/") not in kept:
                    repository.delete_artifacts(path)

    def add_tags(self, tags: Mapping[str, str]) -> None:
        """Have tags wait."""
        from mlflow.entities import RunTag

        self.tags = [tag for tag in self.tags if tag.key not in tags]
        self.tags += [RunTag(name, value[:MAX_TAG]) for name, value in tags.items() if name not in self._kept_tags]

    def put(self, texts: Mapping[str, str]) -> None:
        """Texts as artifacts."""
        repository = self._experiment.artifacts(self.found)
        with tempfile.TemporaryDirectory() as folder:
            for name, text in texts.items():
                (Path(folder) / name).write_bytes(text.encode(errors="surrogateescape"))  # a patch holds any bytes
                repository.log_artifact(str(Path(folder) / name))

    def send(self) -> None:
        """Send what waits in as few batches as there may be."""
        if self.metrics or self.params or self.tags:
            self._client.log_batch(self.run_id, metrics=self.metrics, params=self.params, tags=self.tags)
            self.metrics, self.params, self.tags = [], [], []

    def send_parts(self, is_refused: Callable[[Exception], bool], lose: Callable[[Exception], None]) -> None:
        """Send what waits, halving what is refused until what is wrong stands alone."""
        for part in ("metrics", "params", "tags"):
            waiting = [getattr(self, part)]
            while waiting:
                entries = waiting.pop()
                try:
                    if entries:
                        self._client.log_batch(self.run_id, **{part: entries})
                except Exception as error:
                    if not is_refused(error):
                        raise
                    if len(entries) == 1:
                        lose(error)
                    else:
                        waiting += [entries[len(entries) // 2 :], entries[: len(entries) // 2]]
            setattr(self, part, [])

    def _linked(self, record: Record) -> str:
        return linked(record["text"], record["links"], self._experiment.ledger.run_id, self._experiment.id)

    def _changed(self, numbers: Mapping[str, float], step: int) -> dict[str, float]:
        return {name: value for name, value in numbers.items() if not _same(self._points.get((name, step)), value)}

    def _add(self, numbers: Mapping[str, float], step: int, at_ms: int) -> None:
        from mlflow.entities import Metric

        self.metrics += [Metric(name, value, at_ms, step) for name, value in numbers.items()]
        self._points |= {(name, step): value for name, value in numbers.items()}

    def _ask(self, names: Iterable[str]) -> None:
        """Ask for the points of a continued run, once for each metric."""
        for name in sorted(self._unasked & set(names)):
            points = self._client.get_metric_history(self.run_id, name)
            self._points |= {(name, p.step): p.value for p in sorted(points, key=lambda p: p.timestamp)}
            self._unasked.discard(name)


def files_under(repository: Any, folder: str) -> list[str]:
    """The files below a folder of MLflow's artifacts, each with its path in the run's."""
    found: list[str] = []
    for entry in repository.list_artifacts(folder):
        found += files_under(repository, entry.path) if entry.is_dir else [entry.path]
    return found


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """What is a metric: a number whose name has a slash."""
    return {
        name: _bounded(float(value))
        for name, value in values.items()
        if "/" in name and isinstance(value, int | float) and not isinstance(value, bool)
    }


def _bounded(value: float) -> float:
    """What MLflow gives back of a number: databases know no infinity, and get the largest number for it."""
    return value if math.isnan(value) else min(max(value, -sys.float_info.max), sys.float_info.max)


def _same(one: float | None, other: float) -> bool:
    return one is not None and (one == other or (math.isnan(one) and math.isnan(other)))
