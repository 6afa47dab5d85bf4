"""What MLflow was never told of a search: the driver was killed after journal or store knew, before the spool did."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from dehazing.pipeline.store import Store
from studies import journal
from studies.follower import STATUS
from studies.tracking.ledger import Ledger, folder_of
from studies.tracking.spool import Record

LOOKS = 10  # at the spool, at most, while somebody renames what lies there


def untold(
    root: Path, experiment: str, optuna_study: optuna.Study, store: Store
) -> tuple[list[FrozenTrial], list[str], bool]:
    """Trials whose ending MLflow does not know, addresses that trials build on of which it does not know it either, and
    whether the study's own run was not closed.

    What waits in a spool counts as told. An address is one that MLflow has a run of, or had: other stages that trials
    build on were made for another study. It has ended if it is published, or has failed.
    """
    known = _Known(root, experiment)
    name = optuna_study.study_name
    trials = optuna_study.get_trials(deepcopy=False)
    missing = [t for t in trials if t.state in journal.ENDED and known.status(f"{name}/{t.number}") != STATUS[t.state]]
    built_on = sorted({execution.address for t in trials for execution in journal.pipeline(t)[:-1]})
    left = [a for a in built_on if known.was_begun(f"{name}/{a}") and not known.is_over(f"{name}/{a}")]
    settled = [address for address in left if store.has(address) or store.failure(address) is not None]
    return missing, settled, known.status(name) != "FINISHED"


class _Known:
    """What MLflow knows of runs, by key, and what it will when the spool is delivered."""

    def __init__(self, root: Path, experiment: str) -> None:
        self._begun: set[str] = set()
        self._waiting: dict[str, str] = {}  # key → status
        for record in _spooled(folder_of(root, experiment)):  # before the ledger, where it goes from there
            if record["op"] == "start":
                self._begun.add(record["key"])
            elif record["op"] == "end":
                self._waiting[record["key"]] = record["status"]
        self._ledger = Ledger(root, experiment)

    def status(self, key: str) -> str | None:
        """What a run was closed as, the last time."""
        return self._waiting.get(key) or self._ledger.status(key)

    def is_over(self, key: str) -> bool:
        """Whether a run was closed for good."""
        return self.status(key) in ("FINISHED", "FAILED")

    def was_begun(self, key: str) -> bool:
        """Whether there is a run, or was one at another MLflow."""
        return key in self._begun or self._ledger.was_begun(key)


def _spooled(folder: Path) -> Iterable[Record]:
    """The records of all segments, in the order in which these were written."""
    for _ in range(LOOKS):
        content = b""
        with suppress(FileNotFoundError):  # delivered, or taken over under another name: once more
            for path in sorted(folder.glob("spool-*.jsonl"), key=lambda path: path.stat().st_mtime):
                content += path.read_bytes() + b"\n"
            break
    for line in content.splitlines():
        with suppress(ValueError):  # cut off
            yield json.loads(line)
