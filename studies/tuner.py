"""One study's search: Ray Tune asks the journal's searcher and runs the stage's trainable."""

from __future__ import annotations

import importlib
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.trainable.metadata import _TrainingRunMetadata

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.lease import Owner
from dehazing.pipeline.store import Store, Unwritable, writing
from studies import cluster, journal
from studies.budget import Budget, is_whole, locked
from studies.cluster import Watch
from studies.driving import driving
from studies.follower import Follower
from studies.full_disks import FullDisks, placed
from studies.overhead import Overhead
from studies.progress import Progress
from studies.scale import Scale
from studies.searcher import JournalSearch
from studies.study import Study
from studies.tracking.tracker import Tracker


@dataclass(frozen=True)
class Search:
    """What a search runs with: the folder of its journal and scratch, the store of the stages, slots, who is told.

    texts: artifacts of the study's run, by name. untold: ended trials, and addresses that they build on, whose ending
    MLflow does not know.
    """

    root: Path
    store: Store
    scale: Scale
    slots: int
    tracker: Tracker
    progress: Progress
    overhead: Overhead
    texts: Mapping[str, str] = field(default_factory=dict)
    untold: tuple[Sequence[FrozenTrial], Sequence[str]] = ((), ())


def search(
    study: Study,
    optuna_study: optuna.Study,
    space: Callable[[optuna.Trial], None],
    make_pipeline: Callable[[Mapping[str, Any]], Sequence[Execution]],
    how: Search,
    trainable: Any = None,
    several_kinds: bool = False,
) -> None:
    """Run what is left of the study's budget, as many pieces of work side by side as there are slots.

    trainable: Ray Tune's class for the work; default: that of the study's stage, or of any where there are
    `several_kinds` of stages to execute.
    KeyboardInterrupt where it was stopped, Unwritable where the store cannot be written.
    """
    trial_config = {"alike": cluster.alike(how.store.place)}
    budget = Budget(study, optuna_study, how.root)
    with locked(how.root):
        journal.enqueue(optuna_study, study)
    follower = Follower(study, optuna_study, how.tracker, how.progress, how.overhead, how.texts)
    follower.retell(*how.untold, how.store)
    asked = (study, optuna_study, space, make_pipeline, how.store, trial_config, follower, budget, how.slots)
    with driving(how.root) as driver:
        searcher = JournalSearch(*asked, driver, how.scale, FullDisks())
        try:
            module = importlib.import_module("trainables.trial" if several_kinds else f"trainables.{study.kind}")
            _fit(study, searcher, follower, how, trainable or module.TRAINABLE)
        finally:
            budget.note(at_once=True)
            follower.end()
    if searcher.stop:
        raise Unwritable(searcher.stop)
    if not is_whole(study, optuna_study):
        raise KeyboardInterrupt


def _fit(study: Study, searcher: JournalSearch, follower: Follower, how: Search, trainable: Any) -> None:
    with _scratch(how.root) as scratch:
        tuner = tune.Tuner(
            tune.with_resources(trainable, placed),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=Stopping(searcher),
                num_samples=-1,  # the searcher ends it
                max_concurrent_trials=how.slots,
                reuse_actors=True,
                trial_dirname_creator=_name,
            ),
            run_config=tune.RunConfig(
                name=study.name,
                storage_path=scratch,
                callbacks=[Pulse(follower, searcher)],
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=0),  # the searcher hands it out again
            ),
        )
        begun_s = time.perf_counter()
        try:
            with _own_interrupt():
                tuner.fit()
        finally:
            how.overhead.searched(time.perf_counter() - begun_s, searcher.optuna_s)


class Stopping(FIFOScheduler):
    """First come, first served, and asks the searcher whether to stop a trial early: what decides it is in the journal.

    Tune's own looks for the next trial through all that ever were, up to twice at every event.
    """

    def __init__(self, searcher: JournalSearch) -> None:
        super().__init__()
        self.searcher = searcher
        self.unfinished: list[Any] = []  # Tune's trials, by their arrival

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        trial.run_metadata.__class__ = Unsummed
        self.unfinished.append(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        self.unfinished = [trial for trial in self.unfinished if not trial.is_finished()]
        return next((trial for trial in self.unfinished if trial.status == Trial.PENDING), None)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if not self.searcher.reported(trial.trial_id, result):
            return TrialScheduler.CONTINUE
        actor = trial.temporary_state.ray_actor
        if actor is not None:  # Tune keeps it warm without a word, and with it the lease
            actor.cleanup.remote()
        return TrialScheduler.STOP

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        text = str(trial.get_error() or "").strip()
        last = text.splitlines()[-1].strip() if text else "no reason given"
        self.searcher.failed(trial.trial_id, last, out_of_memory="OutOfMemoryError" in text)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its scheduler for a restore that is not used


class Unsummed(_TrainingRunMetadata):
    """What Tune knows of a trial, but for the least, most and mean of every number that it reported: nobody reads them.

    Tune's own takes a tenth of the driver's time, and 3 KiB for each number until the study ends.
    """

    def update_metric(self, metric: str, value: Any, step: int | None = 1) -> None:
        """Nothing."""


class Pulse(tune.Callback):
    """Keeps the progress line alive, ends the search where Ray is lost, and tells the searcher of Ctrl-C.

    Tune does not while it waits for the searcher. It also keeps, of every trial for as long as the study runs, its
    configuration three times and its last result, and none is read.
    """

    def __init__(self, follower: Follower, searcher: JournalSearch) -> None:
        self.follower, self.searcher = follower, searcher
        self.listening = False
        self.watch = Watch()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as the scheduler

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if not self.listening and threading.current_thread() is threading.main_thread():
            tunes = signal.getsignal(signal.SIGINT)

            def both(number: int, frame: Any) -> None:
                self.searcher.interrupted = True
                if callable(tunes):
                    tunes(number, frame)

            signal.signal(signal.SIGINT, both)
        self.listening = True

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.follower.show()
        self.watch.look()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        trial.run_metadata.last_result = {"done": True}  # an empty one Tune would ask the actor for
        trial.evaluated_params, trial.config = {}, {}


def _name(trial: Any) -> str:
    return str(trial.trial_id)


@contextmanager
def _scratch(root: Path) -> Iterator[str]:
    """A folder of this search alone for what Tune writes: beside the journal, as a cluster's nodes share that."""
    me = Owner.myself()
    with writing(root):
        (root / "tune").mkdir(parents=True, exist_ok=True)
        for folder in (root / "tune").iterdir():
            driver = Owner.named(folder.name)
            if driver is not None and driver.is_gone():
                shutil.rmtree(folder, ignore_errors=True)
        aside = tempfile.TemporaryDirectory(prefix=f"{me.name}-", dir=root / "tune", ignore_cleanup_errors=True)
    with aside as own:
        yield own
    with suppress(OSError):  # another search still uses it
        (root / "tune").rmdir()


@contextmanager
def _own_interrupt() -> Iterator[None]:
    """Puts back what Ctrl-C did before: Tune leaves a handler of its own, which swallows it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
