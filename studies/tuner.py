"""One study's search: Ray Tune asks the journal's searcher and runs the stage's trainable."""

from __future__ import annotations

import importlib
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Unwritable, writing
from studies import journal
from studies.progress import Progress, time_left
from studies.scale import Scale
from studies.searcher import JournalSearch, is_number, num_taken
from studies.study import Study
from studies.tracker import Run, Tracker


def search(
    study: Study,
    optuna_study: optuna.Study,
    space: Callable[[optuna.Trial], None],
    make_execution: Callable[[Mapping[str, Any]], Execution],
    root: Path,
    scale: Scale,
    slots: int,
    tracker: Tracker,
    progress: Progress,
) -> list[int]:
    """Run what is left of the study's budget, `slots` trials side by side.

    Returns the numbers of the trials whose process was lost: they stay open, for the next run.
    KeyboardInterrupt where it was stopped, Unwritable where the results folder cannot be written.
    """
    trial_config = {"root": str(root), "num_threads": scale.num_cpus, "device": "cuda" if scale.num_gpus else "cpu"}
    searcher = JournalSearch(study, optuna_study, space, make_execution, trial_config)
    follower = Follower(study, optuna_study, tracker, progress)
    trainable = importlib.import_module(f"trainables.{study.kind}").TRAINABLE
    with _scratch(root) as scratch:
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": scale.num_cpus, "gpu": scale.num_gpus}),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=_scheduler(study),
                num_samples=max(1, searcher.num_left),
                max_concurrent_trials=slots,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=optuna_study.study_name.replace("/", "-"),
                storage_path=scratch,
                callbacks=[follower],
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=1),  # a lost worker; what fails by itself is a result
            ),
        )
        try:
            with _own_interrupt():
                tuner.fit()
        finally:
            follower.end()
    if searcher.unwritable:
        raise Unwritable(searcher.unwritable)
    if num_taken(optuna_study.get_trials(deepcopy=False)) + len(searcher.lost) < study.num_trials:
        raise KeyboardInterrupt
    return searcher.lost


@contextmanager
def _scratch(root: Path) -> Iterator[str]:
    """A folder of this search alone for what Tune writes: beside the store, as a cluster's nodes share that."""
    with writing(root):
        (root / "tune").mkdir(parents=True, exist_ok=True)
        aside = tempfile.TemporaryDirectory(dir=root / "tune", ignore_cleanup_errors=True)
    with aside as folder:
        yield folder
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


class Follower(tune.Callback):
    """Tells the tracker and the progress line what Tune does; never raises, as that would end the study."""

    def __init__(self, study: Study, optuna_study: optuna.Study, tracker: Tracker, progress: Progress) -> None:
        self.study, self.optuna_study, self.tracker, self.progress = study, optuna_study, tracker, progress
        self.begun_s = time.monotonic()
        self.shares: dict[int, float] = {}  # trial number → share of its epochs that this process saw
        self.open: set[int] = set()
        self.num_before = num_taken(optuna_study.get_trials(deepcopy=False))
        run_id = optuna_study.user_attrs.get("mlflow_run_id")
        tracker.start(
            Run(
                key=study.name,
                name=study.name,
                tags={"stage": study.kind, "study": study.name, "question": study.question},
                params={"sampler": study.sampler, "scheduler": study.scheduler, "num_trials": study.num_trials},
                run_id=run_id,
                on_id=lambda new: optuna_study.set_user_attr("mlflow_run_id", new),
            )
        )

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks for a restore that is not used

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number, execution = trial.config["number"], trial.config["execution"]
        if number in self.open:  # started again after a lost worker
            return
        self.open.add(number)
        self.shares[number] = 0.0
        upstreams = {f"upstream.{role}": address for role, address in execution["upstreams"].items()}
        tags = {"stage": self.study.kind, "fingerprint": Execution(**execution).fingerprint}
        tags |= {"seed": str(execution["seed"]), **upstreams}
        self.tracker.start(
            Run(
                key=self._key(number),
                name=f"{self.study.name} {number}",
                parent=self.study.name,
                tags=tags,
                params=trial.config["params"],
                config=execution["config"],
                run_id=trial.config["mlflow_run_id"],
                # with the study, as a trial that ended can be given no more attributes
                on_id=lambda new: self.optuna_study.set_user_attr(f"mlflow_run_id/{number}", new),
            )
        )
        self._show()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        number = trial.config["number"]
        metrics = {name: value for name, value in result.items() if "/" in name and is_number(value)}
        self.tracker.log(self._key(number), metrics, step=int(result.get("epoch", result.get("num_epochs", 0))))
        self.shares[number] = min(1.0, result.get("epoch", 0) / result.get("num_epochs", 1))
        self._show()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        result = trial.last_result or {}
        status = "FINISHED" if result.get("finished") else "FAILED" if "failed" in result else "KILLED"
        self._ended(trial.config["number"], status, result.get("failed"))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._ended(trial.config["number"], "FAILED", "its process was lost, or could not go on")

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._show()

    def end(self) -> None:
        """Close the study's run; trials that are still open go on later, and are closed as killed for now."""
        trials = self.optuna_study.get_trials(deepcopy=False)
        chosen = journal.chosen(self.study, trials)
        for number in sorted(self.open):
            self.tracker.end(self._key(number), "KILLED")
        if chosen is not None:
            best = {f"best/{o.metric}": v for o, v in zip(self.study.objective, chosen.values, strict=True)}
            self.tracker.log(self.study.name, best, step=len(trials))
            self.tracker.tag(self.study.name, "chosen", str(chosen.number))
        whole = num_taken(trials) >= self.study.num_trials
        self.tracker.end(self.study.name, "FINISHED" if whole else "KILLED")

    def _ended(self, number: int, status: str, reason: str | None) -> None:
        self.shares[number] = 1.0
        self.open.discard(number)
        if reason:
            self.tracker.tag(self._key(number), "reason", reason)
        self.tracker.end(self._key(number), status)
        self._show()

    def _show(self) -> None:
        trials = self.optuna_study.get_trials(deepcopy=False)
        ended = sum(t.state in journal.ENDED for t in trials)
        chosen = journal.chosen(self.study, trials)
        best = ""
        if chosen is not None:
            pairs = zip(self.study.objective, chosen.values, strict=True)
            best = ", ".join(f"{o.metric} {v:.4g}" for o, v in pairs)
        left = time_left(
            time.monotonic() - self.begun_s, sum(self.shares.values()), self.study.num_trials - self.num_before
        )
        self.progress.show(self.study.name, ended, self.study.num_trials, len(self.open), best, left)

    def _key(self, number: int) -> str:
        return f"{self.study.name}/{number}"


def _scheduler(study: Study) -> Any:
    if study.scheduler == "none":
        return FIFOScheduler()
    objective = study.objective[0]
    return ASHAScheduler(time_attr="epoch", metric=objective.metric, mode=objective.mode, max_t=10_000, grace_period=5)
