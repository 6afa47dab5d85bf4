"""A search without Ray: its journal and store are real, the pieces of work are ended by the test."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store
from studies import journal
from studies.budget import Budget
from studies.executions import pipeline_of, space_of
from studies.samplers import make_sampler
from studies.scale import Scale
from studies.searcher import JournalSearch
from studies.study import Choose, Joint, Objective, Study

UNET = Study("unet", "Does it work?", "unet", (Objective("val/psnr", "max"),), num_trials=4, sampler="random")
TWO = Study(
    "hvae",
    "Which?",
    "hvae",
    (Objective("val/ceiling", "max"), Objective("val/smoothness", "max")),
    num_trials=4,
    choose=Choose("val/ceiling", 1.0),
)
JOINT = Study(
    "both",
    "Which HVAE and which R?",
    "restorer",
    (Objective("val/psnr", "max"),),
    num_trials=4,
    sampler="grid",
    space={"share_at_T": 0.4, "lr": {"choices": [1e-3, 2e-3]}, "latent_noise": 0.0, "lambda_decoder": 0.0},
    joint={"hvae": Joint(space={"beta": {"choices": [0.01, 0.02]}, "lr": 1e-3})},
)


ELSEWHERE: dict[str, Any] = {"host": "elsewhere", "pid": 1, "started_s": 0.0}


class Told:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.endings: dict[int, tuple[str, str | None]] = {}
        self.epochs: list[int] = []
        self.num_worked = 0
        self.upstreams: list[tuple[str, str | None]] = []
        self.moves: list[tuple[tuple[int, ...], str]] = []

    def begun(self, number: int, params: Mapping[str, Any], execution: Execution | None) -> None:
        """Every trial that ends has begun."""

    def epoch(self, numbers: Sequence[int], execution: Execution, result: Mapping[str, Any]) -> None:
        self.epochs += numbers

    def ended(self, trial: FrozenTrial, reason: str | None, metrics: Mapping[str, Any] | None) -> None:
        self.endings[trial.number] = (trial.state.name, reason)

    def built(self, execution: Execution, reason: str | None, metrics: Mapping[str, Any] | None) -> None:
        self.upstreams.append((execution.kind, reason))

    def worked(self, executions: Sequence[Execution], result: Mapping[str, Any], seconds: float) -> None:
        self.num_worked += 1

    def moved(self, numbers: Sequence[int], executions: Sequence[Execution], reason: str) -> None:
        self.moves.append((tuple(numbers), reason))


def made(root: Path, study: Study = UNET, slots: int = 8, scale: Scale | None = None) -> JournalSearch:
    sampler = make_sampler(study.sampler, 0, study.num_trials)
    found = journal.open_study(journal.storage(root), "study", study, sampler)
    budget = Budget(study, found, root)

    def make(suggestion: Mapping[str, Any]) -> list[Execution]:
        return pipeline_of(study, "series", 0, {}, suggestion)

    return JournalSearch(
        study, found, space_of(study), make, Store(root), {}, Told(), budget, slots, scale=scale or Scale()
    )


def executions(config: Mapping[str, Any]) -> list[Execution]:
    return [Execution.at(address, fields) for address, fields in config["executions"].items()]


def publish(root: Path, execution: Execution, **final: Any) -> None:
    record = {"final": final, "history": [], "seconds": 1.0, "device": "cpu"}
    Store(root).publish(execution.address, {"metrics.json": json.dumps(record).encode()})


def finish(search: JournalSearch, name: str, config: Mapping[str, Any], psnr: float = 30.0) -> None:
    for execution in executions(config):
        publish(search._store.root, execution, **{"val/psnr": psnr})
    search.on_trial_complete(name, {"done": True})


def trials(search: JournalSearch) -> list[FrozenTrial]:
    return search._ot_study.get_trials()


def ending(search: JournalSearch, number: int = 0) -> tuple[TrialState, str | None]:
    trial = trials(search)[number]
    return trial.state, trial.user_attrs.get("reason")
