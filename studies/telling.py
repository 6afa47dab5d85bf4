"""How trials ended, told to Optuna as what it was."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from dehazing.pipeline.clock import Clock
from dehazing.pipeline.store import Store
from studies.agenda import Asked
from studies.objectives import reason_of_failure
from studies.observer import Observer
from studies.study import RUN_METRICS, Study


class Teller:
    """Tells Optuna and an observer; the numbers are those that the store has.

    Another driver that took this one for dead may have told a trial already, from the same execution: that stands.
    """

    def __init__(self, study: Study, optuna_study: Any, store: Store, observer: Observer, clock: Clock) -> None:
        self.study, self.optuna_study, self.store = study, optuna_study, store
        self.observer, self.clock = observer, clock

    def tell(self, settled: Iterable[tuple[Asked, str | None]]) -> None:
        """Trials whose result is published, or that cannot come to one, with the reason."""
        for asked, reason in settled:
            if reason is not None:
                self._tell(asked.trial, TrialState.FAIL, reason=reason)
            else:
                self._published(asked)

    def stopped(self, asked: Asked, epoch: int) -> None:
        """A trial that was stopped early."""
        self._tell(asked.trial, TrialState.PRUNED, reason=f"stopped early at epoch {epoch}")

    def refused(self, trial: optuna.Trial, reason: str) -> None:
        """A trial whose settings the stage refuses."""
        self._tell(trial, TrialState.FAIL, reason=reason)

    def record(self, address: str) -> dict[str, Any]:
        """The metrics.json of a published execution."""
        record: dict[str, Any] = json.loads(self.store.read(address, "metrics.json"))
        return record

    def _published(self, asked: Asked) -> None:
        record = self.record(asked.target)
        metrics = {**record["final"], **{name: record[name] for name in RUN_METRICS}}
        reason = reason_of_failure(self.study, metrics)
        if reason is not None:
            self._tell(asked.trial, TrialState.FAIL, reason=reason, metrics=record)
            return
        with self.clock.of("optuna"), suppress(UpdateFinishedTrialError):
            for constraint in self.study.constraints:
                asked.trial.set_constraint(constraint.key, constraint.violation(metrics[constraint.metric]))
        values = [float(metrics[o.metric]) for o in self.study.objective]
        self._tell(asked.trial, TrialState.COMPLETE, values=values, metrics=record)

    def _tell(
        self,
        trial: optuna.Trial,
        state: TrialState,
        values: list[float] | None = None,
        reason: str | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> None:
        with self.clock.of("optuna"):
            with suppress(UpdateFinishedTrialError):
                if reason is not None:
                    trial.set_user_attr("reason", reason)
            told = self.optuna_study.tell(trial, values, state=state, skip_if_finished=True)
        self.observer.ended(told, reason, metrics)
