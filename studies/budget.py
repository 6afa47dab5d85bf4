"""How much of a study's budget is left: trials, hours of wall time, GPU-hours, over all runs and drivers."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.trial import TrialState

from dehazing.pipeline.store import writing
from studies import journal
from studies.study import Study

HOUR_S = 3600.0
SPENT = "spent"  # attribute of the Optuna study: {"wall_s": …, "gpu_s": …}


class Budget:
    """What a study may still ask for; `lock` is a file by which drivers ask one after another."""

    def __init__(self, study: Study, optuna_study: optuna.Study, lock: Path, gpus_per_trial: float = 0.0) -> None:
        self.study, self.optuna_study, self.lock, self.gpus_per_trial = study, optuna_study, lock, gpus_per_trial
        before = optuna_study.user_attrs.get(SPENT, {})
        self._wall_before_s, self._gpu_s = before.get("wall_s", 0.0), before.get("gpu_s", 0.0)
        self._begun_s = time.monotonic()
        self._num_taken = num_taken(optuna_study)

    def left(self) -> int:
        """How many trials may still be asked for, as far as this driver knows."""
        return 0 if self.exhausted() else max(0, self.study.num_trials - self._num_taken)

    def exhausted(self) -> str:
        """Which of the hours are spent; "" while there are some."""
        study = self.study
        if study.max_hours is not None and self._wall_s() >= study.max_hours * HOUR_S:
            return f"max_hours: {study.max_hours:g}"
        if study.max_gpu_hours is not None and self._gpu_s >= study.max_gpu_hours * HOUR_S:
            return f"max_gpu_hours: {study.max_gpu_hours:g}"
        return ""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """While no other driver asks for trials, adopts or queues them."""
        with writing(self.lock.parent), self.lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def asking(self) -> Iterator[bool]:
        """Whether one trial more may be asked for; it is to be made in here."""
        with self.locked():
            self._num_taken = num_taken(self.optuna_study)
            allowed = self.left() > 0
            yield allowed
            self._num_taken += allowed

    def worked(self, seconds: float) -> None:
        """Counts the time of a piece of work; kept in the journal where the budget has hours."""
        self._gpu_s += seconds * self.gpus_per_trial
        if self.study.max_hours is not None or self.study.max_gpu_hours is not None:
            self.optuna_study.set_user_attr(SPENT, {"wall_s": self._wall_s(), "gpu_s": self._gpu_s})

    def _wall_s(self) -> float:
        return self._wall_before_s + time.monotonic() - self._begun_s


def num_taken(optuna_study: optuna.Study) -> int:
    """How many trials count: all that were asked for, but for the failed ones that are tried again as others."""
    asked = sum(trial.state != TrialState.WAITING for trial in optuna_study.get_trials(deepcopy=False))
    return asked - len(optuna_study.user_attrs.get(journal.RETRIED, ()))


def is_whole(study: Study, optuna_study: optuna.Study) -> bool:
    """Whether the search has come to its end: its budget is spent, and nothing is under way."""
    trials = optuna_study.get_trials(deepcopy=False)
    if any(trial.state == TrialState.RUNNING for trial in trials):
        return False
    spent = optuna_study.user_attrs.get(SPENT, {})
    hours = ((study.max_hours, spent.get("wall_s", 0.0)), (study.max_gpu_hours, spent.get("gpu_s", 0.0)))
    out_of_time = any(most is not None and seconds >= most * HOUR_S for most, seconds in hours)
    return out_of_time or num_taken(optuna_study) >= study.num_trials
