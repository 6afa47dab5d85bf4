"""A trial as it was recorded: found by STUDY/NUMBER in the journal, or by kind/fingerprint in the store."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store
from dehazing.strict import nearest
from studies import journal


@dataclass(frozen=True)
class Recorded:
    """What a trial asked for, and how it ended.

    executions: those it asked for, upstreams first, its own last. address: where its own result was published, or
    would be. reason: of its failure; "" otherwise. reported: epoch → objective, of a trial that was stopped early,
    which is the metric `objective`.
    """

    name: str
    executions: tuple[Execution, ...]
    address: str
    state: TrialState
    reason: str = ""
    reported: Mapping[int, float] = field(default_factory=dict)
    objective: str = ""
    notes: tuple[str, ...] = ()


def find(word: str, root: Path, store: Store, experiment: str | None = None) -> Recorded:
    """The trial that `word` names; ValueError with the nearest one where there is none, or where it has not ended."""
    number = re.fullmatch(r"([^/]+)/([0-9]{1,9})", word)
    if number is not None:
        return _in_journal(number[1], int(number[2]), root, experiment)
    if re.fullmatch(r"series/[\w-]+|[A-Za-z]\w*/[0-9a-f]{8,64}", word, re.ASCII) is None:
        raise ValueError(
            "A trial is named STUDY/NUMBER, such as degrader/3, or kind/fingerprint, such as hvae/0123456789abcdef, "
            f"but got {word!r}."
        )
    return _in_store(word, store)


def _in_journal(name: str, number: int, root: Path, experiment: str | None) -> Recorded:
    searches = [search for search in journal.names(root) if experiment in (None, search.split("/")[0])]
    where = f"{root}{f', experiment {experiment}' if experiment else ''}"
    if not searches:
        raise ValueError(f"There must be a study in {where}, but its journal holds none.")
    names = sorted({search.split("/")[1] for search in searches})
    if name not in names:
        raise ValueError(f"There is no study `{name}` in {where}; the nearest is `{nearest(name, names)}`.")
    storage = journal.storage(root)
    found: list[tuple[str, FrozenTrial, list[str]]] = []
    numbers = set()
    for search in searches:
        if search.split("/")[1] == name:
            opened = optuna.load_study(study_name=search, storage=storage)
            objective = opened.user_attrs.get(journal.OBJECTIVE, [])
            for trial in opened.get_trials(deepcopy=False):
                numbers.add(trial.number)
                if trial.number == number:
                    found.append((search, trial, objective))
    if not found:
        near = min(numbers, key=lambda other: abs(other - number), default=None)
        hint = "it has none so far" if near is None else f"the nearest is `{name}/{near}`"
        raise ValueError(f"There is no trial {number} of the study `{name}` in {where}; {hint}.")
    search, trial, objective = max(found, key=lambda one: str(one[1].datetime_start))
    notes = (f"of {len(found)} searches that have it, the newest: {search}",) if len(found) > 1 else ()
    return _of_trial(f"{name}/{number}", trial, objective, notes)


def _of_trial(name: str, trial: FrozenTrial, objective: Sequence[str], notes: tuple[str, ...]) -> Recorded:
    fields = json.loads(trial.user_attrs.get("executions", "[]"))
    if trial.state not in journal.ENDED or not fields:
        raise ValueError(f"{name} must have ended before it can be repeated, but is {trial.state.name.lower()}.")
    reported = dict(trial.intermediate_values) if trial.state == TrialState.PRUNED else {}
    if reported and not objective:
        raise ValueError(f"The record of {name} must name the objective of its epochs to be compared, but does not.")
    executions = tuple(_execution(name, one) for one in fields)
    return Recorded(
        name=name,
        executions=executions,
        address=f"{executions[-1].kind}/{trial.user_attrs['fingerprint']}",
        state=trial.state,
        reason=trial.user_attrs.get("reason", "") if trial.state == TrialState.FAIL else "",
        reported=reported,
        objective=objective[0] if objective else "",
        notes=notes,
    )


def _in_store(address: str, store: Store) -> Recorded:
    if address.startswith("series/"):
        raise ValueError(f"TRIAL must be what a trial made, but {address} is a series.")
    if not store.has(address):
        valid = [other for other in store.addresses() if not other.startswith("series/")]
        alike = [other for other in valid if other.startswith(address.split("/")[0] + "/")]
        near = nearest(address, alike or valid)
        hint = f"the nearest is `{near}`" if near else "it holds none"
        raise ValueError(f"There is no execution `{address}` in {store.name}; {hint}.")
    record = json.loads(store.read(address, "config.json"))
    del record["code_version"]
    return Recorded(address, (_execution(address, record),), address, TrialState.COMPLETE)


def _execution(name: str, fields: Mapping[str, Any]) -> Execution:
    try:
        return Execution(**fields)
    except ValueError as error:
        raise ValueError(f"The record of {name} no longer fits the code of its stage: {error}") from error
