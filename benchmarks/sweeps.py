"""The studies that are compared, and the executions that one of their trials asks for."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from dehazing.pipeline.execute import execute
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store
from studies.executions import nested, pipeline_of, ranges_of
from studies.reading import read_studies
from studies.study import Study

FOLDER = Path(__file__).parent
SWEEPS = ("joint", "lambdas")
SEED = 0  # the search's, see studies/scales.yaml


def read_sweep(name: str, scale: str, num_trials: int | None = None) -> Study:
    """The study at a scale; with `num_trials` its first so many points."""
    settings = {name: {"num_trials": num_trials}} if num_trials else {}
    return read_studies([str(FOLDER / f"{name}.yaml")], scale, settings)[name]


def points_of(study: Study) -> list[dict[str, Any]]:
    """The suggestions of the study's trials, in order."""
    return [dict(point) for point in study.points[: study.num_trials]]


def executions_of(study: Study, series: str, suggestion: Mapping[str, Any]) -> list[Execution]:
    """Everything that a trial builds on, then what it reports."""
    return pipeline_of(study, series, SEED, {}, suggestion)


def make(
    study: Study,
    executions: Iterable[Execution],
    store: Store,
    num_cpus: int = 1,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, float]:
    """Execute one after the other, each on the threads that the study gives it, else on as many as a trial has CPUs.

    Returns the final metrics of the last, whose epochs `on_epoch` sees.
    """
    *upstreams, last = executions
    for execution in upstreams:
        torch.set_num_threads(study.num_threads(execution.kind, num_cpus))
        execute(execution, store)
    torch.set_num_threads(study.num_threads(last.kind, num_cpus))
    execute(last, store, on_epoch=on_epoch)
    return json.loads((store.folder(last.address) / "metrics.json").read_text())["final"]


@contextmanager
def own_store(root: Path, addresses: Iterable[str]) -> Iterator[Store]:
    """A trial's own store: empty but for what is taken from the store at `root`, so that nothing else is reused."""
    with tempfile.TemporaryDirectory() as folder:
        for address in addresses:
            place = Path(folder, "stages", address)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(root / "stages" / address)
        yield Store(folder)


def shared_by_all(study: Study, series: str) -> list[Execution]:
    """The executions that every one of the study's points builds on, upstreams first; also where it is shortened."""
    fixed = {name: r["choices"][0] for name, r in ranges_of(study).items() if len(r.get("choices", ())) == 1}
    pipelines = [executions_of(study, series, nested({**fixed, **point})) for point in study.points]
    common = set.intersection(*({execution.address for execution in pipeline[:-1]} for pipeline in pipelines))
    return [execution for execution in pipelines[0] if execution.address in common]


def write_record(path: Path, values: Mapping[int, float], **timings: float) -> None:
    """What a way's process leaves for the comparison: the objective of every trial, in the order of the points."""
    path.write_text(json.dumps({"values": [values[n] for n in sorted(values)], "done_at": time.time(), **timings}))
