"""Ray's OptunaSearch, thinned: the Optuna journal is the only ledger, and every ending is told as what it was."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from dehazing.pipeline.clock import Clock
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.lease import Owner, watched
from dehazing.pipeline.store import Damaged, Store, Unwritable
from studies import journal
from studies.agenda import Agenda, Asked
from studies.budget import Budget, locked
from studies.executions import nested
from studies.full_disks import AWAY_FROM, FullDisks
from studies.objectives import is_finite
from studies.observer import Observer
from studies.resources import asked_of_ray, device_of
from studies.scale import Scale
from studies.study import Study
from studies.telling import Teller

LOOK_EVERY_S = 1.0  # at the store and the journal, for what others do
LOOK_AT_MOST = 20  # times as long as a look takes lie between two: those at an object store take long


class JournalSearch(OptunaSearch):
    """Suggests pieces of work, one or several executions at a time, until a study's budget is spent.

    space: define-by-run function. make_pipeline: nested suggestion → executions, upstreams first. What the store has
    is answered at once; a trial whose upstream is being made, here or elsewhere, is kept back; one that the journal
    holds as running and nobody works on is taken over under its own number with its own parameters. Missing, NaN or
    infinite objective: FAIL with the reason. Stopped before its end: PRUNED, so never the best. Where the store cannot
    be written or read nothing is told, so that the next run takes the trial over.

    driver: the address of the lease that this driver holds in the results folder while it searches. scale: what a piece
    of work of each stage runs on. disks: of the cluster's nodes; None: there is one machine.
    stop: why nothing can be made; "" while all is well. `interrupted` ends the asking.
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
        driver: str = "",
        scale: Scale | None = None,
        disks: FullDisks | None = None,
    ) -> None:
        metrics, modes = [o.metric for o in study.objective], [o.mode for o in study.objective]
        Searcher.__init__(self, metric=metrics, mode=modes)  # type: ignore[arg-type]  # lists are fine there
        self._space: Any = space
        self._ot_study: Any = optuna_study
        self._study, self._store, self._observer, self._slots = study, store, observer, slots
        self._make_pipeline = make_pipeline
        self._trial_config, self._scale = {**trial_config, "store": store.place}, scale or Scale()
        self._agenda = Agenda(store)
        self._work: dict[str, tuple[list[Execution], float]] = {}  # Tune's trial → its work, and since when
        self._errors: dict[str, str] = {}
        self._stopped: set[str] = set()  # Tune's trials, as are those killed for their memory
        self._killed: set[str] = set()
        self._budget = budget
        self._disks = disks
        self._drivers = Store(budget.root)
        self._owner = {"process": asdict(Owner.myself()), "driver": driver}
        self._look_at_s = -math.inf
        self._others = False  # other drivers have trials of this study under way
        self.stop, self.interrupted = "", False
        self._clock = Clock(("optuna",))
        self._teller = Teller(study, optuna_study, store, observer, self._clock)

    @property
    def optuna_s(self) -> float:
        """Seconds that Optuna took."""
        return self._clock.seconds["optuna"]

    def suggest(self, trial_id: str) -> Any:
        """The next piece of work; None where it has to wait, FINISHED where nothing is left or can be written."""
        config: Any = Searcher.FINISHED
        with self._guarded():
            config = self._next(trial_id)
        return Searcher.FINISHED if self.stop or self.interrupted else config

    def _next(self, trial_id: str) -> Any:
        if self.stop or self.interrupted:
            return Searcher.FINISHED
        self._look_around()
        work = self._agenda.start(self._share())
        while not work and self._ask():
            self._teller.tell(self._agenda.settled())
            if self._study.batch == 1 or self._agenda.num_ready() >= self._share() or not self._may_ask():
                work = self._agenda.start(self._share())
        if not work:
            spent = not self._may_ask() and not self._agenda.asked and not self._others
            return Searcher.FINISHED if spent else None
        self._work[trial_id] = (work, time.monotonic())
        scale = self._scale.of(work[0].kind)
        self._budget.begins(trial_id, scale.num_gpus)
        num_threads = self._study.num_threads(work[0].kind, scale.num_cpus)
        executions = {execution.address: asdict(execution) for execution in work}
        seen = {address: watch for address in executions if (watch := watched(self._store, address)) is not None}
        placed = {"resources": asked_of_ray(scale), AWAY_FROM: self._disks.nodes() if self._disks else []}
        config = {**self._trial_config, "executions": executions, "watched": seen, **placed}
        return {**config, "num_threads": num_threads, "device": device_of(scale)}

    def reported(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """An epoch of a piece of work: told to Optuna where it is of a trial's own stage. True: stop it early.

        Without a scheduler nobody reads it there, and each costs a write that is forced to disk.
        """
        execution = self._work[trial_id][0][0]
        asked = self._agenda.of(execution.address)
        self._observer.epoch([a.trial.number for a in asked], execution, result)
        value, epoch = result.get(self._study.objective[0].metric), result.get("epoch")
        if self._study.scheduler == "none" or len(self._study.objective) > 1:
            return False
        if not asked or value is None or not is_finite(value) or epoch is None:
            return False
        stops = False
        with self._guarded():
            with self._clock.of("optuna"):
                for one in asked:
                    if epoch not in one.reported:
                        one.reported.add(epoch)
                        with suppress(UpdateFinishedTrialError):  # another driver took this one for dead
                            one.trial.report(float(value), epoch)
                is_last = epoch >= result.get("num_epochs", math.inf)  # published by now
                if not is_last:
                    stops = all(one.trial.should_prune() for one in asked)
            for one in asked if stops else ():
                self._agenda.drop(one)
                self._teller.stopped(one, epoch)
        if stops:
            self._stopped.add(trial_id)
        return stops

    def failed(self, trial_id: str, error: str, out_of_memory: bool = False) -> None:
        """What Tune says of work whose process was lost, for its memory perhaps."""
        self._errors[trial_id] = error
        if out_of_memory:
            self._killed.add(trial_id)

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Nothing: `reported` is told."""

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """A piece of work has ended; what the store has now is told to Optuna."""
        executions, since_s = self._work.pop(trial_id)
        result = result or {}
        self._observer.worked(executions, result, time.monotonic() - since_s)
        self._budget.ends(trial_id)
        if "stop" in result:
            self.stop = str(result["stop"])
            return
        with self._guarded():
            self._ended(trial_id, executions, result, error)

    def _ended(self, trial_id: str, executions: list[Execution], result: Mapping[str, Any], error: bool) -> None:
        if result.get("busy"):
            self._agenda.busy(executions)
            return
        if "full" in result:
            self._full(executions, str(result["full"]), str(result["node"]))
            return
        if trial_id in self._stopped:
            self._agenda.done(executions)
            return
        if trial_id in self._killed:
            self._agenda.out_of_memory(executions, f"out of memory: {self._errors.pop(trial_id)}")
        elif error:
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
                    self._teller.record(execution.address) if there else None,
                )
        self._teller.tell(self._agenda.settled())

    def _full(self, executions: list[Execution], reason: str, node: str) -> None:
        """The disk of a node is full: what it was at goes to others, or the search ends where there are none."""
        self._agenda.done(executions)
        needs = asked_of_ray(self._scale.of(executions[0].kind))
        if self._disks is None or not self._disks.note(node, needs):
            self.stop = reason
            return
        numbers = [asked.trial.number for execution in executions for asked in self._agenda.of(execution.address)]
        self._observer.moved(numbers, executions, reason)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal and the store hold all there is."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a study goes on from its journal")

    def _look_around(self) -> None:
        """Now and then: trials that nobody works on any more, and what others have published."""
        begun_s = time.monotonic()
        if begun_s < self._look_at_s:
            return
        self._budget.note()
        running = self._running()
        if any(journal.is_orphan(trial, self._drivers) for trial in running):
            with locked(self._budget.root):  # what another driver asks for has its owner after this, or adopts it first
                running = self._running()
                for trial in running:
                    if journal.is_orphan(trial, self._drivers):
                        adopted = optuna.Trial(self._ot_study, trial._trial_id)
                        adopted.set_user_attr(journal.OWNER, self._owner)
                        self._space(adopted)
                        self._take(adopted, set(trial.intermediate_values))
        self._others = bool(self._running())
        self._agenda.look()
        self._teller.tell(self._agenda.settled())
        took_s = time.monotonic() - begun_s
        self._look_at_s = begun_s + took_s + max(LOOK_EVERY_S, LOOK_AT_MOST * took_s)

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
        with self._clock.of("optuna"), self._budget.asking() as allowed:
            trial = self._ot_study.ask() if allowed else None
            if trial is not None:
                trial.set_user_attr(journal.OWNER, self._owner)
                self._space(trial)  # so that who asks next sees the parameters
        if trial is not None:
            self._take(trial, set())
        return trial is not None

    def _take(self, trial: optuna.Trial, reported: set[int]) -> None:
        params = trial.params
        with self._clock.of("optuna"):
            try:
                pipeline = self._make_pipeline(nested(params))
            except ValueError as error:  # a combination that the stage refuses
                self._observer.begun(trial.number, params, None)
                self._teller.refused(trial, str(error))
                return
            trial.set_user_attr("fingerprint", pipeline[-1].fingerprint)
            trial.set_user_attr("executions", json.dumps([asdict(execution) for execution in pipeline]))
        self._agenda.add(Asked(trial, pipeline, reported))
        self._observer.begun(trial.number, params, pipeline[-1])

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """An exception in a searcher would end Tune in the middle: what cannot be read or written ends the asking."""
        try:
            yield
        except (Unwritable, Damaged) as error:
            self.stop = str(error)
        except OSError as error:
            self.stop = f"The journal of the studies must be writable, but: {error.strerror or error}."
