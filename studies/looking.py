"""`list` and `status`: what there is, and what was done. They start nothing."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from studies import asking, journal
from studies.confirm import confirmed, executions
from studies.reading import read_studies, study_names
from studies.scale import scale_names


def add_list(parser: argparse.ArgumentParser) -> None:
    """`list` takes nothing."""
    parser.add_argument("--verbose", action="store_true", help="tracebacks")


def list(arguments: argparse.Namespace) -> int:
    """Every shipped study: its question, and its trials per scale."""
    scales = scale_names()
    by_scale = {scale: read_studies(["all"], scale) for scale in scales}
    for name in study_names():
        study = by_scale[scales[0]][name]
        print(f"{name}: {study.question}")
        print(f"    objective  {_objective(study)}")
        print(f"    builds on  {', '.join(dict.fromkeys(study.upstreams.values())) or 'the dataset alone'}")
        print(f"    trials     {', '.join(f'{scale} {by_scale[scale][name].num_trials}' for scale in scales)}")
    return 0


def add_status(parser: argparse.ArgumentParser) -> None:
    """Options of `status`."""
    asking.add_names(parser)
    asking.add_investigation(parser)
    parser.add_argument("--cluster", type=Path, metavar="FILE", help="of a cluster: nodes, jobs, and what these run")


def status(arguments: argparse.Namespace) -> int:
    """How far each study is, and what it has chosen; with --cluster what its nodes and jobs do, too."""
    if arguments.cluster:
        from studies.cluster_status import cluster_status

        return cluster_status(arguments)
    investigation = asking.investigation(arguments)
    recorded = investigation.recorded()
    print(f"experiment {investigation.experiment} in {investigation.root}")
    for study in investigation.studies.values():
        trials = recorded[study.name] or []
        counts = {state: sum(t.state == state for t in trials) for state in TrialState}
        chosen = journal.chosen(study, trials)
        line = f"{study.name:<10} {counts[TrialState.COMPLETE]}/{study.num_trials} complete"
        for state in (TrialState.RUNNING, TrialState.PRUNED, TrialState.FAIL):
            line += f", {counts[state]} {state.name.lower()}" if counts[state] else ""
        if chosen is not None:
            values = ", ".join(f"{o.metric} {v:.4g}" for o, v in zip(study.objective, chosen.values, strict=True))
            line += f"; chosen trial {chosen.number}, {values}"
        print(line)
    if set(study_names()) <= set(investigation.studies):
        num, num_there, _ = _confirmation(investigation, recorded)
        print(f"confirmation {num_there}/{num} executions")
    page = investigation.root / investigation.experiment / "report" / "index.html"
    print(f"report     {page if page.exists() else 'not written yet'}")
    return 0


def _confirmation(investigation: Any, recorded: Mapping[str, Any]) -> tuple[int, int, bool]:
    """Executions of the confirmation, how many the store has, and whether that can be known yet."""
    studies, seeds = confirmed(investigation.studies), investigation.scale.seeds
    num = len(seeds) * sum(1 + (0 if s.kind == "iterative" else len(s.controls)) for s in studies.values())
    num += len(seeds) * ("iterative" in studies)  # the attribution of its loops
    if any(name not in investigation.addresses for name in studies):
        return num, 0, False
    from studies.conclusion import instances_of

    chosen = instances_of(investigation)
    addresses = {e.address for seed in seeds for e in executions(chosen, investigation.series, seed).values()}
    return len(addresses), sum(investigation.store.has(address) for address in addresses), True


def _objective(study: Any) -> str:
    return " and ".join(f"{objective.metric} ({objective.mode})" for objective in study.objective)
