"""What MLflow was never told of a search: its driver was killed after the journal knew, before the spool did."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from studies import journal
from studies.follower import STATUS
from studies.tracking.ledger import Ledger, folder_of


def untold(root: Path, experiment: str, optuna_study: optuna.Study) -> tuple[list[FrozenTrial], list[str], bool]:
    """Trials whose ending MLflow does not know, addresses that they build on and that were left open, and whether the
    study's own run was not closed. What waits in a spool counts as told."""
    status = _statuses(root, experiment)
    name = optuna_study.study_name
    trials = [t for t in optuna_study.get_trials(deepcopy=False) if t.state in journal.ENDED]
    missing = [t for t in trials if status(f"{name}/{t.number}") != STATUS[t.state]]
    built_on = {upstream for t in trials for e in journal.pipeline(t)[-1:] for upstream in e.upstreams.values()}
    left = [address for address in sorted(built_on) if status(f"{name}/{address}") == "KILLED"]
    return missing, left, status(name) != "FINISHED"


def _statuses(root: Path, experiment: str) -> Callable[[str], str | None]:
    ledger, waiting = Ledger(root, experiment), {}
    for path in sorted(folder_of(root, experiment).glob("spool-*.jsonl"), key=_written_s):
        for line in path.read_bytes().splitlines() if path.exists() else ():
            with suppress(ValueError):  # cut off
                record = json.loads(line)
                if record["op"] == "end":
                    waiting[record["key"]] = record["status"]

    def status(key: str) -> str | None:
        return waiting.get(key) or ledger.status(key)

    return status


def _written_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
