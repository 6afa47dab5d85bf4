"""(b) and (c): the script one would write with Ray Tune, OptunaSearch and MLflowLoggerCallback, without this engine.

(b) every trial trains the whole pipeline. (c) what all trials build on is trained first, once, side by side where it
can be, and every trial trains the rest.
"""

import time

BEGUN = time.time()

import os  # noqa: E402
import sys  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.air.integrations.mlflow import MLflowLoggerCallback  # noqa: E402
from ray.tune.search.optuna import OptunaSearch  # noqa: E402

from benchmarks.sweeps import (  # noqa: E402
    executions_of,
    make,
    own_store,
    points_of,
    read_sweep,
    shared_by_all,
    write_record,
)
from dehazing.pipeline.execution import Execution  # noqa: E402
from dehazing.pipeline.store import Store  # noqa: E402
from studies.executions import space_of  # noqa: E402
from studies.study import Study  # noqa: E402


def train(suggestion: dict[str, Any], study: Study, series: str, root: Path, made: list[str]) -> None:
    """One trial: reports the metrics of each epoch of the study's stage, then its final ones."""
    with own_store(root, [f"series/{series}", *made]) as store:
        tune.report(make(study, executions_of(study, series, suggestion), store, on_epoch=tune.report))


@ray.remote(num_cpus=1)
def train_upstreams(study: Study, executions: list[Execution], root: Path) -> None:
    """One after the other."""
    make(study, executions, Store(root))


def chains(executions: list[Execution]) -> list[list[Execution]]:
    """Executions that build on each other stand in one list; the lists are independent."""
    result: list[list[Execution]] = []
    for execution in executions:
        below = [chain for chain in result if any(e.address in execution.upstreams.values() for e in chain)]
        result = [chain for chain in result if chain not in below] + [[*(e for c in below for e in c), execution]]
    return result


def main(way: str, sweep: str, scale: str, num_trials: int, slots: int, series: str, root: Path) -> None:
    """Run the study in the results folder `root`, which holds the series."""
    imported = time.time()
    ray.init(address="local", num_cpus=slots, include_dashboard=False, log_to_driver=False)
    ready = time.time()
    study = read_sweep(sweep, scale, num_trials)
    points = points_of(study)
    upstreams = shared_by_all(study, series) if way == "c" else []
    ray.get([train_upstreams.remote(study, chain, root) for chain in chains(upstreams)])
    made = [execution.address for execution in upstreams]
    (objective,) = study.objective
    search = OptunaSearch(
        space=space_of(study), metric=objective.metric, mode=objective.mode, points_to_evaluate=points
    )
    tuner = tune.Tuner(
        tune.with_resources(partial(train, study=study, series=series, root=root, made=made), {"cpu": 1}),
        tune_config=tune.TuneConfig(search_alg=search, num_samples=len(points), max_concurrent_trials=slots),
        run_config=tune.RunConfig(
            name=sweep,
            storage_path=str(root / "tune"),
            callbacks=[MLflowLoggerCallback(f"sqlite:///{root / 'mlflow.db'}", experiment_name=sweep)],
            verbose=0,
        ),
    )
    results = tuner.fit()
    ended = {i: results[i].metrics or {} for i in range(len(results)) if not results[i].error}
    values = {i: metrics[objective.metric] for i, metrics in ended.items()}
    write_record(root / "record.json", values, imports_s=imported - BEGUN, ray_s=ready - imported)


if __name__ == "__main__":
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    way, sweep, scale, num_trials, slots, series, root = sys.argv[1:]
    main(way, sweep, scale, int(num_trials), int(slots), series, Path(root))
