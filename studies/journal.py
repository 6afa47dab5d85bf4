"""The studies' journal: Optuna studies in one append-only file under the results folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from dehazing.pipeline.store import writing
from studies.study import Study

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def storage(root: Path) -> JournalStorage:
    """The journal below `root`; ValueError where it cannot be written."""
    folder = root / "optuna"
    with writing(root):
        folder.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(folder / "journal.log")))


def names(root: Path) -> list[str]:
    """The searches that the journal below `root` holds; none where there is no journal."""
    if not (root / "optuna" / "journal.log").is_file():
        return []
    return optuna.get_all_study_names(storage(root))


def open_study(store: JournalStorage, name: str, study: Study, sampler: BaseSampler | None = None) -> optuna.Study:
    """The Optuna study `name`, made where it is missing. ValueError where its directions are not the study's."""
    directions: list[Any] = ["minimize" if o.mode == "min" else "maximize" for o in study.objective]
    try:
        found = optuna.load_study(study_name=name, storage=store, sampler=sampler)  # creating would write
    except KeyError:
        found = optuna.create_study(storage=store, study_name=name, directions=directions, sampler=sampler)
        for point in study.points:
            found.enqueue_trial(dict(point))
    recorded = [direction.name.lower() for direction in found.directions]
    if recorded != directions:
        raise ValueError(f"The study {name} was begun with the directions {recorded}, but its file says {directions}.")
    return found


def chosen(study: Study, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The trial that the study's rule chooses among the complete ones, or None where there is none.

    One objective: the best. Two: among those within `choose.within` of the best `choose.metric`, the best in the
    other one. Equal values: the earlier trial.
    """
    complete = [t for t in trials if t.state == TrialState.COMPLETE and all(map(math.isfinite, t.values or ()))]
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
