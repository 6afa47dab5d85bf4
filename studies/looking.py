"""`list`, `plan` and `status`: what there is, what would be done, what was done. They start nothing."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from dehazing.data.dataset import DatasetConfig, make_series
from dehazing.data.objects import read_stack
from dehazing.data.pinhole_series import PinholeSeriesConfig
from dehazing.data.simulator import stack_places
from dehazing.data.synthetic import SyntheticConfig
from studies import asking, journal
from studies.executions import check, ranges_of
from studies.scale import scale_names
from studies.study import read_studies, study_names

NUM_SHOWN = 3  # sampled suggestions


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


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Options of `plan`."""
    asking.add_names(parser)
    asking.add_investigation(parser)


def plan(arguments: argparse.Namespace) -> int:
    """Validate everything, show the spaces, count trials and executions, and what the store has already."""
    investigation = asking.investigation(arguments)
    recorded = investigation.recorded()
    has_series = investigation.store.has(f"series/{investigation.series}")
    notes = () if has_series else _notes_of_files(investigation.dataset)
    print(f"experiment {investigation.experiment} in {investigation.root}")
    print(f"dataset    {investigation.dataset_path}")
    print(f"series     {investigation.series}, {'in the store' if has_series else 'to be made'}")
    for note in notes:
        print(f"note: {note}")
    print()
    most, there = 0, 0
    for study in investigation.studies.values():
        trials = recorded[study.name] or []
        ended = [t for t in trials if t.state in journal.ENDED]
        addresses = {f"{study.kind}/{t.user_attrs['fingerprint']}" for t in ended if "fingerprint" in t.user_attrs}
        num_there = sum(investigation.store.has(address) for address in addresses)
        left = max(0, study.num_trials - len(ended))
        most, there = most + num_there + left, there + num_there
        print(f"{study.name}: {study.question}")
        print(f"    {study.num_trials} trials ({study.sampler}, stopping: {study.scheduler}), {len(ended)} ended")
        print(f"    objective: {_objective(study)}")
        for name, domain in ranges_of(study).items():
            print(f"    {name:<18} {_range(domain)}")
        for suggestion in check(study)[:NUM_SHOWN]:
            print(f"    e.g. {_short(suggestion)}")
        if recorded[study.name] is None:
            print("    waits for the studies that it builds on")
        print()
    print(f"search: at most {most} distinct executions, of which the store has {there}")
    if set(study_names()) <= set(investigation.studies):
        num, num_there, known = _confirmation(investigation, recorded)
        share = f"the store has {num_there}" if known else "which ones is known once the searches are done"
        print(f"confirmation: {num} executions on the seeds {', '.join(map(str, investigation.scale.seeds))}; {share}")
    return 0


def add_status(parser: argparse.ArgumentParser) -> None:
    """Options of `status`."""
    asking.add_names(parser)
    asking.add_investigation(parser)


def status(arguments: argparse.Namespace) -> int:
    """How far each study is, and what it has chosen."""
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


def _notes_of_files(config: DatasetConfig) -> tuple[str, ...]:
    """What the reader has to say of the files of a dataset; ValueError where they do not serve. Stores nothing."""
    source = config.source if isinstance(config, SyntheticConfig) else config
    if isinstance(source, PinholeSeriesConfig):
        return make_series(config).notes
    if source.object != "lines":
        return tuple(stack_places(source, read_stack(Path(source.object)).shape)[1])
    return ()


def _confirmation(investigation: Any, recorded: Mapping[str, Any]) -> tuple[int, int, bool]:
    """Executions of the confirmation, how many the store has, and whether that can be known yet."""
    studies, seeds = investigation.studies, investigation.scale.seeds
    num = len(seeds) * sum(1 + (0 if s.kind == "iterative" else len(s.controls)) for s in studies.values())
    if any(name not in investigation.addresses for name in studies):
        return num, 0, False
    from studies.conclusion import instances_of
    from studies.confirm import executions

    chosen = instances_of(investigation)
    addresses = {e.address for seed in seeds for e in executions(chosen, investigation.series, seed).values()}
    return len(addresses), sum(investigation.store.has(address) for address in addresses), True


def _objective(study: Any) -> str:
    return " and ".join(f"{objective.metric} ({objective.mode})" for objective in study.objective)


def _range(domain: Mapping[str, Any]) -> str:
    if "choices" in domain:
        return " | ".join(map(str, domain["choices"]))
    return f"{domain['low']} … {domain['high']}{' (log)' if domain.get('log') else ''}"


def _short(suggestion: Mapping[str, Any]) -> str:
    shown = {
        name: f"({_short(value)})"
        if isinstance(value, Mapping)
        else f"{value:.3g}"
        if isinstance(value, float)
        else value
        for name, value in suggestion.items()
    }
    return ", ".join(f"{name} {value}" for name, value in shown.items())
