"""Ray's OptunaSearch, thinned: the Optuna journal is the only ledger, and every ending is told as what it was."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.lease import Owner
from dehazing.pipeline.store import Store
from studies import journal
from studies.agenda import Agenda, Asked
from studies.budget import Budget
from studies.executions import nested
from studies.study import RUN_METRICS, Study

LOOK_EVERY_S = 1.0  # at the store and the journal, for what others do


class Observer(Protocol):
    """Who is told what happens to trials; none of it may raise."""

    def begun(self, number: int, params: Mapping[str, Any], execution: Execution | None) -> None: ...

    def epoch(self, numbers: Sequence[int], execution: Execution, result: Mapping[str, Any]) -> None: ...

    def ended(self, trial: FrozenTrial, reason: str | None, metrics: Mapping[str, Any] | None) -> None: ...

    def built(self, execution: Execution, reason: str | None, metrics: Mapping[str, Any] | None) -> None: ...

    def worked(self, executions: Sequence[Execution], result: Mapping[str, Any], seconds: float) -> None: ...


class JournalSearch(OptunaSearch):
    """Suggests pieces of work, one or several executions at a time, until a study's budget is spent.

    space: define-by-run function. make_pipeline: nested suggestion → executions, upstreams first. A trial whose
    result the store has is answered at once; one whose upstream is being made, here or elsewhere, is kept back. A
    trial that the journal holds as running and that nobody works on any more is taken over under its own number
    with its own parameters; its executions go on from their checkpoints in the store. Missing, NaN or infinite
    objective: FAIL with the reason. Stopped before its end: PRUNED, so never the best. Where the store cannot be
    written nothing is told, so that the next run takes the trial over.

    unwritable: why nothing can be written; "" while all is well. `interrupted` ends the asking.
    """

    def __init__(
        self,
        study: Study,
        optuna_study: optuna.Study,
        space: Callable[[optuna.Trial], None],
        make_pipeline: Callable[[Mapping[str, Any]], Sequence[Execution]],
        store: Store,
        trial_config: Mapping[str, Any],
        observer: Observer,
        budget: Budget,
        slots: int = 1,
    ) -> None:
        metrics, modes = [o.metric for o in study.objective], [o.mode for o in study.objective]
        Searcher.__init__(self, metric=metrics, mode=modes)  # type: ignore[arg-type]  # lists are fine there
        self._space: Any = space
        self._ot_study: Any = optuna_study
        self._study, self._store, self._observer, self._slots = study, store, observer, slots
        self._make_pipeline = make_pipeline
        self._trial_config = {**trial_config, "store": store.place}
        self._agenda = Agenda(store)
        self._work: dict[str, tuple[list[Execution], float]] = {}  # Tune's trial → its work, and since when
        self._errors: dict[str, str] = {}
        self._stopped: set[str] = set()  # Tune's trials
        self._budget = budget
        self._looked_s = -math.inf
        self._others = False  # other drivers have trials of this study under way
        self.unwritable, self.interrupted = "", False
        self.optuna_s = 0.0

    def suggest(self, trial_id: str) -> Any:
        """The next piece of work; None where it has to wait, FINISHED where nothing is left or can be written."""
        if self.unwritable or self.interrupted:
            return Searcher.FINISHED
        self._look_around()
        work = self._agenda.start(self._share())
        while not work and self._ask():
            self._settle()
            if not self._study.batch > 1 or self._agenda.num_ready() >= self._share() or not self._may_ask():
                work = self._agenda.start(self._share())
        if not work:
            spent = not self._may_ask() and not self._agenda.asked and not self._others
            return Searcher.FINISHED if spent else None
        self._work[trial_id] = (work, time.monotonic())
        return {**self._trial_config, "executions": {execution.address: asdict(execution) for execution in work}}

    def reported(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """An epoch of a piece of work: told to Optuna where it is of a trial's own stage. True: stop it early."""
        execution = self._work[trial_id][0][0]
        asked = self._agenda.of(execution.address)
        self._observer.epoch([a.trial.number for a in asked], execution, result)
        value, epoch = result.get(self._study.objective[0].metric), result.get("epoch")
        if len(self._study.objective) > 1 or not asked or value is None or not is_finite(value) or epoch is None:
            return False
        with self._timed():
            for one in asked:
                if epoch not in one.reported:
                    one.reported.add(epoch)
                    one.trial.report(float(value), epoch)
            if self._study.scheduler == "none" or not all(one.trial.should_prune() for one in asked):
                return False
        self._stopped.add(trial_id)
        for one in asked:
            self._agenda.drop(one)
            self._tell(one, TrialState.PRUNED, reason=f"stopped early at epoch {epoch}")
        return True

    def failed(self, trial_id: str, error: str) -> None:
        """What Tune says of a piece of work whose process was lost."""
        self._errors[trial_id] = error

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Nothing: `reported` has been told."""

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """A piece of work has ended; what the store has now is told to Optuna."""
        executions, since_s = self._work.pop(trial_id)
        result = result or {}
        self._observer.worked(executions, result, time.monotonic() - since_s)
        self._budget.worked(time.monotonic() - since_s)
        if "unwritable" in result:
            self.unwritable = str(result["unwritable"])
            return
        if trial_id in self._stopped:
            self._agenda.done(executions)
            return
        if error:
            self._agenda.lost(executions, self._errors.pop(trial_id, "no reason given"))
        elif result.get("out_of_memory"):
            self._agenda.out_of_memory(executions, str(result["failed"]))
        elif "failed" in result:
            self._agenda.failed(executions, str(result["failed"]))
        else:
            self._agenda.ended(executions)
        for execution in executions:
            if execution.kind != self._study.kind:  # what trials build on
                there = self._store.has(execution.address)
                self._observer.built(
                    execution,
                    self._agenda.reason(execution.address),
                    self._record(execution.address) if there else None,
                )
        self._settle()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher for a restore that is not used

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal and the store hold all there is, and Tune's own state is thrown away."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("A study goes on from its journal; Tune's restore is not used.")

    def _look_around(self) -> None:
        """Now and then: trials that nobody works on any more, and what others have published."""
        if time.monotonic() - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = time.monotonic()
        running = self._running()
        if any(journal.is_orphan(trial) for trial in running):
            with self._budget.locked():  # what another driver asks for has its owner after this, or adopts it first
                running = self._running()
                for trial in filter(journal.is_orphan, running):
                    adopted = optuna.Trial(self._ot_study, trial._trial_id)
                    adopted.set_user_attr("owner", asdict(Owner.myself()))
                    self._take(adopted, set(trial.intermediate_values))
        self._others = not all(journal.is_orphan(trial) for trial in running)
        self._agenda.look()
        self._settle()

    def _running(self) -> list[FrozenTrial]:
        """Trials under way that this search did not ask for."""
        trials = self._ot_study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [trial for trial in trials if trial.number not in self._agenda.asked]

    def _share(self) -> int:
        """How many executions a piece of work holds: a batch, but no more than a slot's share of what is left."""
        left = self._budget.left() + len(self._agenda.asked) if self._study.batch > 1 else 1
        return max(1, min(self._study.batch, math.ceil(left / self._slots)))

    def _may_ask(self) -> bool:
        return self._budget.left() > 0 and len(self._agenda.asked) < self._slots * (self._study.batch + 1)

    def _ask(self) -> bool:
        """One trial more, where the budget allows it."""
        if not self._may_ask():
            return False
        with self._timed(), self._budget.asking() as allowed:
            trial = self._ot_study.ask() if allowed else None
            if trial is not None:
                trial.set_user_attr("owner", asdict(Owner.myself()))
        if trial is not None:
            self._take(trial, set())
        return trial is not None

    def _take(self, trial: optuna.Trial, reported: set[int]) -> None:
        with self._timed():
            params = self._suggest_from_define_by_run_func(self._space, trial)
            try:
                pipeline = self._make_pipeline(nested(params))
            except ValueError as error:  # a combination that the stage refuses
                self._observer.begun(trial.number, params, None)
                self._fail(trial, str(error))
                return
            trial.set_user_attr("fingerprint", pipeline[-1].fingerprint)
            trial.set_user_attr("executions", json.dumps([asdict(execution) for execution in pipeline]))
        self._agenda.add(Asked(trial, pipeline, reported))
        self._observer.begun(trial.number, params, pipeline[-1])

    def _fail(self, trial: optuna.Trial, reason: str) -> None:
        trial.set_user_attr("reason", reason)
        told = self._ot_study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        self._observer.ended(told, reason, None)

    def _settle(self) -> None:
        for asked, reason in self._agenda.settled():
            if reason is not None:
                self._tell(asked, TrialState.FAIL, reason=reason)
                continue
            record = self._record(asked.target)
            metrics = {**record["final"], **{name: record[name] for name in RUN_METRICS}}
            values = [metrics.get(o.metric) for o in self._study.objective]
            reason = _reason_of_failure(self._study, metrics)
            if reason is not None:
                self._tell(asked, TrialState.FAIL, reason=reason, metrics=record)
                continue
            with self._timed():
                for constraint in self._study.constraints:
                    asked.trial.set_constraint(constraint.key, constraint.violation(metrics[constraint.metric]))
            self._tell(asked, TrialState.COMPLETE, values=[float(v) for v in values if v is not None], metrics=record)

    def _record(self, address: str) -> dict[str, Any]:
        return json.loads(self._store.read(address, "metrics.json"))

    def _tell(
        self,
        asked: Asked,
        state: TrialState,
        values: list[float] | None = None,
        reason: str | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> None:
        with self._timed():
            if reason is not None:
                asked.trial.set_user_attr("reason", reason)
            # another driver that took this one for dead may have told it already, from the same execution
            told = self._ot_study.tell(asked.trial, values, state=state, skip_if_finished=True)
        self._observer.ended(told, reason, metrics)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        begun_s = time.perf_counter()
        try:
            yield
        finally:
            self.optuna_s += time.perf_counter() - begun_s


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """Whether the value is a number that an objective may have."""
    return is_number(value) and math.isfinite(value)


def _reason_of_failure(study: Study, metrics: Mapping[str, Any]) -> str | None:
    wanted = [("objective", o.metric) for o in study.objective] + [("constraint", c.metric) for c in study.constraints]
    for what, metric in wanted:
        value = metrics.get(metric)
        if not is_finite(value):
            return f"the {what} {metric} is {'missing' if value is None else value}"
    return None
