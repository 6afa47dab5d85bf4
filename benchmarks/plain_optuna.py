"""(d): the script one would write with Optuna alone: what all trials share first, then one trial after the other."""

import time

BEGUN = time.time()

import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import optuna  # noqa: E402

from benchmarks.sweeps import (  # noqa: E402
    executions_of,
    make,
    own_store,
    points_of,
    read_sweep,
    shared_by_all,
    write_record,
)
from dehazing.pipeline.store import Store  # noqa: E402
from studies.executions import nested, space_of  # noqa: E402


def main(sweep: str, scale: str, num_trials: int, slots: int, series: str, root: Path) -> None:
    """Run the study in the results folder `root`, which holds the series; its one trial has all slots as threads."""
    imported = time.time()
    study = read_sweep(sweep, scale, num_trials)
    space = space_of(study)
    (objective,) = study.objective
    upstreams = shared_by_all(study, series)
    make(study, upstreams, Store(root), slots)
    made = [execution.address for execution in upstreams]

    def evaluate(trial: optuna.Trial) -> float:
        space(trial)
        with own_store(root, [f"series/{series}", *made]) as store:
            return make(study, executions_of(study, series, nested(trial.params)), store, slots)[objective.metric]

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = optuna.create_study(direction="maximize" if objective.mode == "max" else "minimize")
    for point in points_of(study):
        search.enqueue_trial(point)
    search.optimize(evaluate, n_trials=study.num_trials)
    values = {trial.number: trial.values[0] for trial in search.trials}
    write_record(root / "record.json", values, imports_s=imported - BEGUN, ray_s=0.0)


if __name__ == "__main__":
    sweep, scale, num_trials, slots, series, root = sys.argv[1:]
    main(sweep, scale, int(num_trials), int(slots), series, Path(root))
