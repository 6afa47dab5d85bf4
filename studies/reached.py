"""What the searches and confirmations of results folders reach in a store."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from dehazing.pipeline.manifest import Damaged
from dehazing.pipeline.store import Store
from studies import journal


@dataclass
class Reached:
    """Addresses that something builds on or asks for; those of trials under way keep their checkpoints."""

    addresses: set[str] = field(default_factory=set)
    under_way: set[str] = field(default_factory=set)
    num_searches: int = 0
    num_confirmations: int = 0
    damaged: list[str] = field(default_factory=list)  # sentences


def reached_by(store: Store, roots: Sequence[Path], superseded: bool = False) -> Reached:
    """What the trials and confirmations below `roots` name, and all that those were made from.

    superseded: of each experiment's study, only the newest search counts. ValueError where a root has no journal:
    then everything would seem unreached.
    """
    reached = Reached()
    for root in roots:
        if not journal.names(root):
            raise ValueError(
                f"{root} must hold the searches that say what is still needed, but has none; name it by --storage."
            )
        searches = _searches(root)
        for name in _newest(searches) if superseded else searches:
            reached.num_searches += 1
            for trial in searches[name]:
                found = _of_trial(trial)
                reached.addresses |= found
                if trial.state not in journal.ENDED:
                    reached.under_way |= found
        for path in sorted([*root.glob("*/confirm.json"), *root.glob("*/wanted.json")]):
            found = _read_confirmation(path)
            reached.addresses |= found
            if path.name == "confirm.json":
                reached.num_confirmations += 1
            else:
                reached.under_way |= found
    _add_upstreams(store, reached)
    return reached


def _searches(root: Path) -> dict[str, list[FrozenTrial]]:
    opened = journal.storage(root)
    return {
        name: optuna.load_study(study_name=name, storage=opened).get_trials(deepcopy=False)
        for name in journal.names(root)
    }


def _newest(searches: Mapping[str, Sequence[FrozenTrial]]) -> Collection[str]:
    """The last begun search of each experiment and study; a name is experiment/study/what was asked."""
    begun: dict[str, tuple[datetime, str]] = {}
    for name, trials in searches.items():
        started = [trial.datetime_start for trial in trials if trial.datetime_start is not None]
        study = name.rpartition("/")[0]
        begun[study] = max(begun.get(study, (datetime.min, "")), (max(started, default=datetime.min), name))
    return [name for _, name in begun.values()]


def _of_trial(trial: FrozenTrial) -> set[str]:
    """Its own execution under the fingerprint that it had then (code may have changed since), and those before it."""
    attributes = trial.user_attrs
    fields: list[dict[str, Any]] = json.loads(attributes.get("executions", "[]"))
    if "execution" in attributes:
        fields.append(json.loads(attributes["execution"]))
    found = {address for execution in fields for address in execution.get("upstreams", {}).values()}
    found |= {f"series/{execution['dataset']}" for execution in fields}
    if fields and "fingerprint" in attributes:
        found.add(f"{fields[-1]['kind']}/{attributes['fingerprint']}")
    return found


def _read_confirmation(path: Path) -> set[str]:
    """ValueError where the file is damaged: what it named would seem unreached."""
    try:
        return _of_confirmation(json.loads(path.read_bytes()))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} must say what its confirmation is made of, but is damaged ({type(error).__name__}: {error}): "
            "give the `run` command that made it again, or remove the file to drop what only this confirmation needs."
        ) from error


def _of_confirmation(content: Mapping[str, Any]) -> set[str]:
    found = set(content.get("addresses", ()))
    for addresses in (*content.get("stages", {}).values(), content.get("iterative", {})):
        found |= set(addresses.values())
    return found | {f"series/{content['dataset']}"}


def _add_upstreams(store: Store, reached: Reached) -> None:
    """Everything that what is reached was made from, as its own record says."""
    waiting = list(reached.addresses)
    while waiting:
        address = waiting.pop()
        if address.startswith("series/"):
            continue
        try:
            manifest = store.manifest(address)
            if manifest is None or "config.json" not in manifest["files"]:
                continue
            record = json.loads(store.read(address, "config.json"))
        except Damaged as error:
            reached.damaged.append(str(error))
            continue
        found = {*record.get("upstreams", {}).values(), f"series/{record['dataset']}"} - reached.addresses
        reached.addresses |= found
        waiting += found
