"""How much of a study's budget is left: trials, hours of wall time, GPU-hours, over all runs and drivers."""

from __future__ import annotations

import fcntl
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

import optuna
from optuna.trial import TrialState

from dehazing.pipeline.store import writing
from studies import journal
from studies.study import Study

HOUR_S = 3600.0
SPENT = "spent/"  # and a run's name: attribute of the Optuna study, {"wall_s": …, "gpu_s": …}
NOTE_EVERY_S = 30.0


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """While no other driver of the results folder asks for trials, adopts or queues them."""
    path = root / "optuna" / "asking.lock"
    with writing(root):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Budget:
    """What a study may still ask for. Hours of drivers that run side by side add up."""

    def __init__(self, study: Study, optuna_study: optuna.Study, root: Path) -> None:
        self.study, self.optuna_study, self.root = study, optuna_study, root
        self._name, self._begun_s, self._noted_s = f"{SPENT}{uuid.uuid4().hex[:12]}", time.monotonic(), time.monotonic()
        self._worked_gpu_s = 0.0
        self._begun: dict[str, tuple[float, float]] = {}  # work under way → since when, on so many GPUs
        self._taken = Taken()
        self._num_taken = self._taken.of(optuna_study)
        self._others = spent(optuna_study)

    def left(self) -> int:
        """How many trials may still be asked for, as far as this driver knows."""
        return 0 if self.exhausted() else max(0, self.study.num_trials - self._num_taken)

    def exhausted(self) -> str:
        """Which of the hours are spent; "" while there are some."""
        wall_s, gpu_s = self._own()
        return _exhausted(self.study, self._others[0] + wall_s, self._others[1] + gpu_s)

    @contextmanager
    def asking(self) -> Iterator[bool]:
        """Whether one trial more may be asked for; it is to be made in here, while no other driver asks."""
        with locked(self.root):
            self._num_taken = self._taken.of(self.optuna_study)
            allowed = self.left() > 0
            yield allowed
            self._num_taken += allowed

    def begins(self, work: str, num_gpus: float = 0.0) -> None:
        """A piece of work is handed out; its time counts from now on."""
        self._begun[work] = time.monotonic(), num_gpus

    def ends(self, work: str) -> None:
        """A piece of work has ended."""
        since_s, num_gpus = self._begun.pop(work)
        self._worked_gpu_s += (time.monotonic() - since_s) * num_gpus

    def note(self, at_once: bool = False) -> None:
        """Keeps now and then in the journal what was spent, and reads what others have spent."""
        if self.study.max_hours is None and self.study.max_gpu_hours is None:
            return
        if at_once or time.monotonic() - self._noted_s > NOTE_EVERY_S:
            self._noted_s = time.monotonic()
            wall_s, gpu_s = self._own()
            self.optuna_study.set_user_attr(self._name, {"wall_s": wall_s, "gpu_s": gpu_s})
            self._others = spent(self.optuna_study, without=self._name)

    def _own(self) -> tuple[float, float]:
        now_s = time.monotonic()
        under_way_s = sum((now_s - since_s) * num_gpus for since_s, num_gpus in self._begun.values())
        return now_s - self._begun_s, self._worked_gpu_s + under_way_s


def spent(optuna_study: optuna.Study, without: str = "") -> tuple[float, float]:
    """Seconds of wall time and of GPUs, of all runs but one."""
    runs = [run for name, run in optuna_study.user_attrs.items() if name.startswith(SPENT) and name != without]
    return sum(run["wall_s"] for run in runs), sum(run["gpu_s"] for run in runs)


def _exhausted(study: Study, wall_s: float, gpu_s: float) -> str:
    if study.max_hours is not None and wall_s >= study.max_hours * HOUR_S:
        return f"max_hours: {study.max_hours:g}"
    if study.max_gpu_hours is not None and gpu_s >= study.max_gpu_hours * HOUR_S:
        return f"max_gpu_hours: {study.max_gpu_hours:g}"
    return ""


class Taken:
    """Counts a study's trials again and again, and looks only once at those that have left the queue."""

    def __init__(self) -> None:
        self._num_settled = 0  # the first trials of the study, none of which is queued
        self._retried: set[int] = set()  # by one of them

    def of(self, optuna_study: optuna.Study) -> int:
        """How many trials count: all that were asked for, but for the failed ones that are tried again as others."""
        trials = optuna_study.get_trials(deepcopy=False)
        late = trials[self._num_settled :]
        settled = list(takewhile(lambda trial: trial.state != TrialState.WAITING, late))
        self._retried |= journal.retried(settled)
        self._num_settled += len(settled)
        late = late[len(settled) :]
        num_late = sum(trial.state != TrialState.WAITING for trial in late)
        return self._num_settled + num_late - len(self._retried | journal.retried(late))


def num_taken(optuna_study: optuna.Study) -> int:
    """As `Taken`, once."""
    return Taken().of(optuna_study)


def is_whole(study: Study, optuna_study: optuna.Study) -> bool:
    """Whether the search has come to its end: its budget is spent, and nothing is under way."""
    if any(trial.state == TrialState.RUNNING for trial in optuna_study.get_trials(deepcopy=False)):
        return False
    return bool(_exhausted(study, *spent(optuna_study))) or num_taken(optuna_study) >= study.num_trials
