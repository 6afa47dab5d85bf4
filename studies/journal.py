"""The studies' journal: Optuna studies in one append-only file under the results folder."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.lease import Owner, holder
from dehazing.pipeline.store import Store, writing
from studies.executions import points_of
from studies.journal_lock import JournalLock
from studies.study import Study

OWNER = "owner"  # attribute of a trial: {"process": …, "driver": the address of the lease that its driver holds}
OBJECTIVE = "objective"  # attribute of an Optuna study: the metrics that its trials' values are
QUEUED = "points"  # attribute of an Optuna study: how many of its points were queued
RETRY_OF = "retry_of"  # attribute of a trial: the number of the failed one that it tries again
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def storage(root: Path) -> JournalStorage:
    """The journal below `root`; ValueError where it cannot be written, or holds what Optuna does not know."""
    folder = root / "optuna"
    with writing(root):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "journal.log"
        backend = JournalFileBackend(str(path), lock_obj=JournalLock(path))  # type: ignore[arg-type]
        try:
            return JournalStorage(backend)
        except (AssertionError, LookupError, TypeError, ValueError) as error:
            raise ValueError(
                f"The journal {path} cannot be read: all its entries must be of Optuna {optuna.__version__}, but one "
                f"is damaged or of another version ({type(error).__name__}: {error})."
            ) from error


def names(root: Path) -> list[str]:
    """The searches that the journal below `root` holds; none where there is no journal."""
    if not (root / "optuna" / "journal.log").is_file():
        return []
    return optuna.get_all_study_names(storage(root))


def open_study(store: JournalStorage, name: str, study: Study, sampler: BaseSampler | None = None) -> optuna.Study:
    """The Optuna study `name`, made where it is missing. ValueError where its directions are not the study's."""
    directions: list[Any] = ["minimize" if o.mode == "min" else "maximize" for o in study.objective]
    how: dict[str, Any] = {"study_name": name, "storage": store, "sampler": sampler, "pruner": pruner_of(study)}
    try:
        found = optuna.load_study(**how)  # creating would write
    except KeyError:
        found = optuna.create_study(**how, directions=directions)
    recorded = [direction.name.lower() for direction in found.directions]
    if recorded != directions:
        raise ValueError(f"The study {name} was begun with the directions {recorded}, but its file says {directions}.")
    return found


def enqueue(found: optuna.Study, study: Study) -> None:
    """Names the objective, and queues the study's points: what of it whoever was to do it may have been killed over."""
    if OBJECTIVE not in found.user_attrs:
        found.set_user_attr(OBJECTIVE, [o.metric for o in study.objective])
    queued = found.user_attrs.get(QUEUED, 0)
    recorded = [trial.system_attrs.get("fixed_params") for trial in found.get_trials(deepcopy=False)]
    for number, point in enumerate(points_of(study)[queued:], queued + 1):
        if point not in recorded:
            found.enqueue_trial(point)
        found.set_user_attr(QUEUED, number)


def retry(found: optuna.Study, store: Store) -> int:
    """Forgets the failures of the study's failed trials, and queues their parameters again; returns how many.

    A trial whose result is published failed by its result, and would again.
    """
    trials = found.get_trials(deepcopy=False)
    before = retried(trials)
    failed = [t for t in trials if t.state == TrialState.FAIL and t.number not in before]
    failed = [t for t in failed if not any(store.has(e.address) for e in pipeline(t)[-1:])]
    for trial in failed:
        for execution in pipeline(trial):
            store.forget_failure(execution.address)
        found.enqueue_trial(trial.params, user_attrs={RETRY_OF: trial.number})
    return len(failed)


def retried(trials: Sequence[FrozenTrial]) -> set[int]:
    """Numbers of the failed trials that were queued again; their place in the budget is free."""
    return {trial.user_attrs[RETRY_OF] for trial in trials if RETRY_OF in trial.user_attrs}


def pruner_of(study: Study) -> BasePruner:
    """What stops trials early: it decides from the journal, so it goes on after a restart, and for all drivers."""
    if study.scheduler == "asha":
        return SuccessiveHalvingPruner(min_resource=study.grace_epochs, reduction_factor=4)
    if study.scheduler == "median":
        return MedianPruner(n_startup_trials=4, n_warmup_steps=study.grace_epochs)
    return NopPruner()


def is_orphan(trial: FrozenTrial, drivers: Store) -> bool:
    """Whether the journal holds the trial as running while nobody works on it.

    drivers: where each driver holds a lease while it searches; one of another host that is silent is gone.
    """
    if trial.state != TrialState.RUNNING:
        return False
    owner = trial.user_attrs.get(OWNER)
    if owner is None:
        return True
    myself = Owner(**owner["process"]) == Owner.myself()
    return myself or Owner(**owner["process"]).is_gone() or holder(drivers, owner["driver"]) is None


def pipeline(trial: FrozenTrial) -> list[Execution]:
    """The executions that a trial asked for, upstreams first, its own last; none where it never came so far."""
    return [Execution(**fields) for fields in json.loads(trial.user_attrs.get("executions", "[]"))]


def feasible(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The complete trials that hold their study's constraints: those that can be chosen."""
    complete = [t for t in trials if t.state == TrialState.COMPLETE and all(map(math.isfinite, t.values or ()))]
    return [t for t in complete if all(violation <= 0 for violation in t.constraints.values())]


def chosen(study: Study, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The feasible trial that the study's rule chooses, or None.

    One objective: the best. Two: among those within `choose.within` of the best `choose.metric`, the best in the
    other one. Equal values: the earlier trial.
    """
    complete = feasible(trials)
    if not complete:
        return None
    signs = [1 if o.mode == "max" else -1 for o in study.objective]
    last = 0
    if study.choose is not None and len(signs) == 2:
        first = [o.metric for o in study.objective].index(study.choose.metric)
        last = 1 - first
        top = max(signs[first] * t.values[first] for t in complete)
        complete = [t for t in complete if signs[first] * t.values[first] >= top - study.choose.within]
    return max(complete, key=lambda t: (signs[last] * t.values[last], -t.number))
