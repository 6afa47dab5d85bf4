"""Tells MLflow, the progress line and the account of the run's time what happens to a study's trials."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store
from studies import journal
from studies.budget import num_taken
from studies.overhead import Overhead
from studies.progress import Progress, time_left
from studies.spaces import tracked_params
from studies.study import Study
from studies.tracking.notes import study_note
from studies.tracking.tracker import Run, Tracker

STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "PRUNED", TrialState.FAIL: "FAILED"}


class Follower:
    """The searcher's observer; never raises, as that would end the study.

    A trial has one MLflow run, named by the search and the trial's number, so that it is continued after a restart.
    """

    def __init__(
        self,
        study: Study,
        optuna_study: optuna.Study,
        tracker: Tracker,
        progress: Progress,
        overhead: Overhead,
        texts: Mapping[str, str] | None = None,
    ) -> None:
        self.study, self.optuna_study, self.overhead = study, optuna_study, overhead
        self.tracker, self.progress = tracker, progress
        self.begun_s = time.monotonic()
        self.num_before = num_taken(optuna_study)
        self.ended_trials = sum(t.state in journal.ENDED for t in optuna_study.get_trials(deepcopy=False))
        self.chosen = journal.chosen(study, optuna_study.get_trials(deepcopy=False))
        self.shares: dict[int, float] = {}  # trial under way → share of its epochs done
        self.done = 0
        self.under_way: set[str] = set()  # keys of the stages that are made for trials to build on
        tracker.start(
            Run(
                key=optuna_study.study_name,
                name=study.name,
                tags={"stage": study.kind, "study": study.name, "question": study.question},
                params={"sampler": study.sampler, "scheduler": study.scheduler, "num_trials": study.num_trials},
                texts=texts or {},
                system=True,
            )
        )
        self._describe()

    def begun(self, number: int, params: Mapping[str, Any], execution: Execution | None) -> None:
        """A trial was asked for, or taken over; no execution: its stage refuses the settings."""
        self.shares[number] = 0.0
        tags = {"stage": self.study.kind, "study": self.study.name, **(_tags(execution) if execution else {})}
        key, name = self.key(number), f"{self.study.name} {number}"
        config = execution.config if execution else None
        self.tracker.start(
            Run(key, name, self.optuna_study.study_name, tags, tracked_params(self.study, params), config)
        )

    def epoch(self, numbers: Sequence[int], execution: Execution, result: Mapping[str, Any]) -> None:
        """An epoch of an execution that is the result of these trials; of none where it is only built on."""
        epoch = int(result.get("epoch", 0))
        metrics = {name: value for name, value in result.items() if "/" in name and not name.startswith("spent/")}
        if not numbers:
            self.tracker.log(self._built_on(execution), metrics, step=epoch)
        for number in numbers:
            self.tracker.log(self.key(number), metrics, step=epoch)
            self.shares[number] = min(1.0, epoch / max(1, result.get("num_epochs", 1)))

    def ended(self, trial: FrozenTrial, reason: str | None, metrics: Mapping[str, Any] | None) -> None:
        """A trial has ended; metrics: its published metrics.json."""
        self.done += 1
        self.ended_trials += 1
        self._tell_end(trial, reason, metrics)
        if trial.state == TrialState.COMPLETE:
            self._compare(trial)

    def retell(self, trials: Sequence[FrozenTrial], addresses: Sequence[str], store: Store) -> None:
        """Trials that ended in an earlier run, and what trials build on, whose ending MLflow was not told."""
        for trial in trials:
            *_, target = None, *journal.pipeline(trial)
            self.begun(trial.number, trial.params, target)
            metrics = None if target is None else _published(store, target)
            self._tell_end(trial, trial.user_attrs.get("reason"), metrics)
        built_on = {e.address: e for t in self.optuna_study.get_trials(deepcopy=False) for e in journal.pipeline(t)}
        for address in addresses:
            self.built(built_on[address], store.failure(address), _published(store, built_on[address]))

    def _tell_end(self, trial: FrozenTrial, reason: str | None, metrics: Mapping[str, Any] | None) -> None:
        self.shares.pop(trial.number, None)
        key = self.key(trial.number)
        if reason:
            self.tracker.tag(key, "reason", reason)
        if metrics is not None:
            self.tracker.history(key, metrics["history"], metrics["final"])
        self.tracker.end(key, STATUS[trial.state])

    def built(self, execution: Execution, reason: str | None, metrics: Mapping[str, Any] | None) -> None:
        """A stage that trials build on has ended: published, or failed."""
        key = self._built_on(execution)
        if reason:
            self.tracker.tag(key, "reason", reason)
        if metrics is not None:
            self.tracker.history(key, metrics["history"], metrics["final"])
        self.tracker.end(key, "FINISHED" if metrics is not None else "FAILED" if reason else "KILLED")
        self.under_way.discard(key)

    def worked(self, executions: Sequence[Execution], result: Mapping[str, Any], seconds: float) -> None:
        """A piece of work has ended, after so many seconds with its slot."""
        spent = {name.removeprefix("spent/"): value for name, value in result.items() if name.startswith("spent/")}
        executed = result.get("done") and not result.get("busy")  # else somebody else is at it, or will be once more
        self.overhead.worked(len(executions) if executed else 0, spent, seconds)

    def moved(self, numbers: Sequence[int], executions: Sequence[Execution], reason: str) -> None:
        """A node could not go on with a piece of work, which another one gets; numbers: of the trials it belongs to."""
        addresses = ", ".join(execution.address for execution in executions)
        self.progress.say(f"{self.study.name}: {reason} Going on elsewhere: {addresses}")
        for number in numbers:
            self.tracker.tag(self.key(number), "moved", reason)

    def show(self) -> None:
        """The progress line."""
        best = ""
        if self.chosen is not None:
            pairs = zip(self.study.objective, self.chosen.values, strict=True)
            best = ", ".join(f"{o.metric} {v:.4g}" for o, v in pairs)
        done = self.done + sum(self.shares.values())
        left = time_left(time.monotonic() - self.begun_s, done, self.study.num_trials - self.num_before)
        self.progress.show(self.study.name, self.ended_trials, self.study.num_trials, len(self.shares), best, left)

    def end(self) -> None:
        """Close the study's run; trials that are still open go on later, and are closed as killed for now."""
        trials = self.optuna_study.get_trials(deepcopy=False)
        chosen, key = journal.chosen(self.study, trials), self.optuna_study.study_name
        for open_one in [*map(self.key, sorted(self.shares)), *sorted(self.under_way)]:
            self.tracker.end(open_one, "KILLED")
        if chosen is not None:
            best = {f"best/{o.metric}": v for o, v in zip(self.study.objective, chosen.values, strict=True)}
            self.tracker.log(key, best, step=len(trials))
            self.tracker.tag(key, "chosen", str(chosen.number))
        self._describe()
        open_ones = any(trial.state == TrialState.RUNNING for trial in trials)
        self.tracker.end(key, "KILLED" if open_ones else "FINISHED")

    def key(self, number: int) -> str:
        """The name of a trial's run."""
        return f"{self.optuna_study.study_name}/{number}"

    def _describe(self) -> None:
        trials, key = self.optuna_study.get_trials(deepcopy=False), self.optuna_study.study_name
        self.tracker.describe(key, *study_note(self.study, trials, key))

    def _built_on(self, execution: Execution) -> str:
        """The run of a stage that trials build on, opened when it is first heard of."""
        key = f"{self.optuna_study.study_name}/{execution.address}"
        if key not in self.under_way:
            self.under_way.add(key)
            name, study = f"{execution.kind} {execution.fingerprint[:8]}", self.optuna_study.study_name
            tags = {"stage": execution.kind, **_tags(execution)}
            self.tracker.start(Run(key, name, study, tags, {}, execution.config))
        return key

    def _compare(self, trial: FrozenTrial) -> None:
        rivals = [trial] if self.chosen is None else [self.chosen, trial]
        if len(self.study.objective) > 1:  # the rule looks at all of them
            rivals = self.optuna_study.get_trials(deepcopy=False)
        self.chosen = journal.chosen(self.study, rivals)


def _tags(execution: Execution) -> dict[str, str]:
    upstreams = {f"upstream.{role}": address for role, address in execution.upstreams.items()}
    return {"fingerprint": execution.fingerprint, "seed": str(execution.seed), **upstreams}


def _published(store: Store, execution: Execution) -> dict[str, Any] | None:
    """Its metrics.json."""
    if not store.has(execution.address):
        return None
    record: dict[str, Any] = json.loads(store.read(execution.address, "metrics.json"))
    return record
