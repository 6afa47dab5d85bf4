"""An investigation: one dataset, and every study in order, each on the chosen trials of those before."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from dehazing.data.archive import load_series
from dehazing.data.dataset import digest
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.series import ensure_series, series_fingerprint
from dehazing.pipeline.store import writing
from dehazing.stages import WITHOUT_STUDY
from studies import journal, revision
from studies.budget import is_whole, locked
from studies.executions import pipeline_of, space_of, study_key, with_sampler
from studies.follower import Follower
from studies.overhead import Overhead
from studies.patches import check_patches
from studies.placement import as_measured
from studies.progress import Progress, duration
from studies.resources import resources_of_each
from studies.samplers import make_sampler
from studies.scale import Scale
from studies.storage import note_store, store_of
from studies.study import Study
from studies.tracking.tracker import Data, Tracker, is_needed
from studies.tracking.untold import untold


class NothingChosen(RuntimeError):
    """A study has no trial that can be chosen, so nothing can be built on it."""


@dataclass
class Investigation:
    """One experiment: studies of one dataset at one scale, in one results folder."""

    root: Path
    experiment: str
    dataset_path: Path
    dataset: Any  # its configuration
    scale_name: str
    scale: Scale
    studies: Mapping[str, Study]
    objects: str | None = None  # URL of an object store for the stages; None: that of the results folder
    retry_failed: bool = False
    command: str = ""
    verbose: bool = False
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        self.root = self.root.expanduser().resolve()
        self.store = store_of(self.root, self.objects)
        self.begun_s = time.monotonic()
        self.overhead = Overhead()
        self.addresses: dict[str, str] = {}  # study → address of its chosen trial's execution
        self.failures: list[str] = []
        self._resources, self._is_started = ExitStack(), False

    @cached_property
    def journal(self) -> optuna.storages.JournalStorage:
        return journal.storage(self.root)

    @cached_property
    def series(self) -> str:
        """The fingerprint of the dataset's series, which the store may not have yet."""
        return series_fingerprint(self.dataset)

    def prepare(self) -> None:
        """Make the series where it is missing; ValueError for a dataset or a results folder that does not serve.

        The same for a machine without the GPUs that the scale asks for, and for patches that the images do not hold.
        """
        with writing(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
            note_store(self.root, self.store)
        self.store.check_writable()
        if not self.store.has(f"series/{self.series}"):
            resources_of_each(self.scale, self.scale_name, self.kinds)  # before the work of making it
            self.progress.say(f"{self.dataset_path.stem}: making the series")
            ensure_series(self.dataset, self.store)
        series = load_series(self.store.folder(f"series/{self.series}"))
        for note in series.notes:
            self.progress.say(f"note: {note}")
        check_patches(self.studies, self.dataset_path.stem, series.fields[0].frames.shape[-2:])

    @cached_property
    def git_commit(self) -> str:
        return revision.commit(Path(__file__).parent)

    @cached_property
    def git_patch(self) -> dict[str, str]:
        """What the tree differs in from its commit, as an artifact; nothing for a clean tree.

        Each has a name of its own, as a run that is continued may have several; its tags name the newest.
        """
        patch = revision.patch(Path(__file__).parent) if self.git_commit.endswith(revision.DIRTY) else ""
        return {revision.name_of(patch): patch} if patch else {}

    @cached_property
    def tracker(self) -> Tracker:
        """MLflow's writer, started when there is something to write."""
        data = Data(self.dataset_path.stem, digest(self.dataset), str(self.dataset_path))
        tags = {"dataset": data.digest, "git_commit": self.git_commit, "scale": self.scale_name}
        tags["git_patch"] = next(iter(self.git_patch), "none")
        tracker = Tracker(self.root, self.experiment, {**tags, "seed": str(self.scale.search_seed)}, data)
        self._resources.callback(self._close_tracker, tracker)
        return tracker

    @property
    def kinds(self) -> list[str]:
        """The stages of all studies, and those that the confirmation adds."""
        own = dict.fromkeys(kind for study in self.studies.values() for kind in (*study.joint, study.kind))
        return [*own, *WITHOUT_STUDY]

    def placed(self) -> Scale:
        """The scale with the shares of a GPU that were measured by now."""
        return as_measured(self.scale, self.kinds, self.studies, self.store, self.series)

    def slots(self, scale: Scale, kinds: Iterable[str]) -> dict[str, int]:
        """Stage → how many of its executions run side by side; Ray is started when this is first asked."""
        from studies import cluster

        resources_of_each(scale, self.scale_name, kinds)
        begun_s = time.perf_counter()
        if not self._is_started:
            self._resources.callback(cluster.stop)
            cluster.start(scale, self.verbose, self.store.place)
            self._is_started = True
        rooms = {kind: cluster.room(scale.of(kind)) for kind in kinds}
        self.overhead.started(time.perf_counter() - begun_s, max(rooms.values()))
        return rooms

    def __enter__(self) -> Investigation:
        return self

    def __exit__(self, *exception: object) -> None:
        self._resources.close()

    def search_all(self) -> None:
        """Every study's search, in order; a finished one is read from its journal.

        Where one chose nothing, those that build on it are left out, the others are searched, and NothingChosen says so
        at the end.
        """
        failed: list[str] = []
        without: list[str] = []  # not searched
        for study in self.studies.values():
            above = next((other for other in study.upstreams.values() if other in (*failed, *without)), None)
            if above is not None:
                without.append(study.name)
                self.progress.say(f"{study.name}: not searched, as it builds on {above}, which has chosen nothing.")
                continue
            try:
                self.search(study)
            except NothingChosen as error:
                failed.append(study.name)
                self.progress.say(str(error))
        if failed:
            left_out = f"; not searched, as they build on that: {', '.join(without)}" if without else ""
            raise NothingChosen(f"Without a trial that can be chosen: {', '.join(failed)}{left_out}.")

    def search(self, study: Study) -> FrozenTrial:
        """One study's search; returns the chosen trial. NothingChosen where none can be chosen."""
        optuna_study = self.open(study)
        if self.retry_failed:
            with locked(self.root):
                journal.retry(optuna_study, self.store)
        if not is_whole(study, optuna_study):
            from studies.tuner import Search, search

            before_s = time.monotonic()
            missing = self.missing_below(study)
            make, scale = partial(self.pipeline, study, missing, self.domain(study)), self.placed()
            rooms = self.slots(scale, {*(execution.kind for execution in missing), *study.joint, study.kind})
            how = Search(
                self.root,
                self.store,
                scale,
                min(rooms.values()),
                self.tracker,
                self.progress,
                self.overhead,
                self.git_patch,
                untold(self.root, self.experiment, optuna_study, self.store)[:2],
            )
            search(study, optuna_study, space_of(study), make, how, several_kinds=bool(missing or study.joint))
            took = f" in {duration(time.monotonic() - before_s)}"
        else:
            self._tell_again(study, optuna_study)
            took = " before"
        trials = optuna_study.get_trials(deepcopy=False)
        self._note_failures(study, trials, journal.retried(trials))
        chosen = journal.chosen(study, trials)
        if chosen is None:
            ended = "came to its end within the constraints" if study.constraints else "came to its end"
            raise NothingChosen(f"{study.name}: no trial {ended}, so nothing can be built on this study.")
        values = ", ".join(f"{o.metric} {v:.4g}" for o, v in zip(study.objective, chosen.values, strict=True))
        num = sum(trial.state in journal.ENDED for trial in trials)
        self.progress.say(f"{study.name}: {num} trials{took}; chosen trial {chosen.number}, {values}")
        self.addresses[study.name] = f"{study.kind}/{chosen.user_attrs['fingerprint']}"
        return chosen

    def open(self, study: Study) -> optuna.Study:
        """The study's search in the journal, with its sampler."""
        sampler = make_sampler(with_sampler(study).sampler, self.scale.search_seed, study.num_trials)
        return journal.open_study(self.journal, self.key(study), study, sampler)

    def key(self, study: Study) -> str:
        """The name of the study's search in the journal."""
        return study_key(study, self.experiment, self.series, self.scale.search_seed, self.upstreams(study))

    def recorded(self) -> dict[str, list[FrozenTrial] | None]:
        """study → its trials so far; None where it waits for a study that has chosen nothing yet. Writes nothing."""
        names = journal.names(self.root)
        result: dict[str, list[FrozenTrial] | None] = {}
        for study in self.studies.values():
            if any(other not in self.addresses for other in study.upstreams.values()):
                result[study.name] = None
                continue
            trials = self.open(study).get_trials(deepcopy=False) if self.key(study) in names else []
            result[study.name] = trials
            chosen = journal.chosen(study, trials)
            if chosen is not None:
                self.addresses[study.name] = f"{study.kind}/{chosen.user_attrs['fingerprint']}"
        return result

    def pipeline(
        self, study: Study, missing: Sequence[Execution], domain: str, suggestion: Mapping[str, Any]
    ) -> list[Execution]:
        """What a trial needs, upstreams first; missing, domain: what `missing_below` and `domain` found."""
        seed, upstreams = self.scale.search_seed, self.upstreams(study)
        return [*missing, *pipeline_of(study, self.series, seed, upstreams, suggestion, domain)]

    def domain(self, study: Study) -> str:
        """Of the chosen degrader that a study builds on; latents where it builds on none."""
        other = study.upstreams.get("degrader")
        return (
            "latents" if other is None else self.chosen_execution(self.studies[other]).config.get("domain", "latents")
        )

    def missing_below(self, study: Study) -> list[Execution]:
        """What was chosen below a study and is gone from the store, upstreams first: the first trial makes it again."""
        found: dict[str, Execution] = {}
        for other in study.upstreams.values():
            below = [*self.missing_below(self.studies[other]), *self._chosen_pipeline(self.studies[other])]
            found |= {execution.address: execution for execution in below if not self.store.has(execution.address)}
        return list(found.values())

    def upstreams(self, study: Study) -> dict[str, str]:
        """role → address of the chosen trial of the study that fills it."""
        return {role: self.addresses[other] for role, other in study.upstreams.items()}

    def chosen_execution(self, study: Study) -> Execution:
        """The execution of the study's chosen trial."""
        return self._chosen_pipeline(study)[-1]

    def _chosen_pipeline(self, study: Study) -> Sequence[Execution]:
        trial = journal.chosen(study, self.open(study).get_trials(deepcopy=False))
        assert trial is not None, study.name
        return journal.pipeline(trial)

    def _note_failures(self, study: Study, trials: list[FrozenTrial], retried: Collection[int]) -> None:
        for trial in trials:
            if trial.state == TrialState.FAIL and trial.number not in retried:
                reason = trial.user_attrs.get("reason", "no reason recorded")
                self.failures.append(f"{study.name} trial {trial.number} failed: {reason}")

    def _tell_again(self, study: Study, optuna_study: optuna.Study) -> None:
        """Tell MLflow what it does not know of a search that has come to its end."""
        trials, addresses, is_open = untold(self.root, self.experiment, optuna_study, self.store)
        if trials or addresses or is_open:
            follower = Follower(study, optuna_study, self.tracker, self.progress, self.overhead, self.git_patch)
            follower.retell(trials, addresses, self.store)
            follower.end()

    def deliver(self) -> None:
        """Give MLflow what an earlier run left behind."""
        if is_needed(self.root, self.experiment):
            assert self.tracker  # starts it, if nothing else has

    def _close_tracker(self, tracker: Tracker) -> None:
        missing = tracker.close()
        if missing:
            print(missing, file=sys.stderr)
        self.overhead.write(self.root / self.experiment, tracker.caller_s)
