"""From the searches to the result: confirmation on fresh seeds, the experiment's records, the report."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from dehazing.data.archive import load_series
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import writing
from dehazing.stages import KINDS
from studies import journal
from studies.confirm import (
    ATTRIBUTION,
    Instance,
    confirmed,
    domains_of,
    doomed,
    executions,
    instances,
    loop_configurations,
    unconfirmed,
)
from studies.confirming import confirm
from studies.executions import nested
from studies.investigation import Investigation
from studies.pruning import note_wanted
from studies.spaces import spaces_of
from studies.study import Study
from studies.tracking.ledger import Ledger
from studies.tracking.tracked import is_tracked

BASELINES = ("unet", "nafnet", "hdn")
NEEDED = KINDS  # without these there is nothing to report
Wanted = dict[tuple[str, int], Execution]  # (instance, seed) → what makes it


def conclude(investigation: Investigation) -> Path | None:
    """Confirm what was chosen, write confirm.json, trials.json and the report; returns the report, None without one.

    What the store and the records have already is not made again. A control that fails is left out, with the loops
    that use it: a failure is noted, and the report is written without them. Studies that search several stages
    jointly are left out, too, with what builds on them; there is no report where it needs one of these.
    """
    write_trials(investigation)
    left_out = unconfirmed(investigation.studies)
    for text in left_out.values():
        investigation.progress.say(f"note: {text}")
    if any(name in left_out for name in NEEDED):
        investigation.progress.say(f"note: so there is no confirmation and no report, which need {', '.join(NEEDED)}")
        return None
    plan = instances_of(investigation)
    failed: dict[str, str] = {}  # instance → reason
    while True:
        wanted = wanted_of(investigation, plan)
        found = _confirmed(investigation, plan, wanted)
        broken = {name: reason for name, reason in found.items() if name not in NEEDED}
        needed_ones = [name for name in found if name in NEEDED]
        if not broken or any(name != "iterative" for name in needed_ones):
            failed |= found
            break
        failed |= broken  # the loop could not go without them: once more, with what is left
        plan = instances_of(investigation, failed)
    if any(name in NEEDED for name in failed):
        investigation.tracker.close()
        return None
    notes = [*left_out.values()]
    notes += [f"`{name}` failed, so {_without(name)} left out: {reason}" for name, reason in failed.items()]
    changed = write_confirmation(investigation, plan, wanted, notes)
    folder = investigation.root / investigation.experiment
    page = folder / "report" / "index.html"
    if "tracker" in vars(investigation):
        investigation.overhead.write(folder, investigation.tracker.caller_s)
    is_new = changed or not page.exists() or page.stat().st_mtime < (folder / "trials.json").stat().st_mtime
    if is_new:
        from analysis.report import write_report

        write_report(investigation.root, investigation.experiment)
    if is_new or not is_tracked(folder):
        from studies.tracking.records import track_report

        questions = {name: study.question for name, study in investigation.studies.items()}
        of = (investigation.dataset_path.stem, investigation.scale_name, questions)
        track_report(investigation.tracker, folder, *of)
    if not is_tracked(folder):
        from studies.tracking.records import track_confirmation

        texts = investigation.git_patch
        track_confirmation(investigation.tracker, investigation.store, folder, wanted, loops_of(plan), texts)
    return page


def _without(name: str) -> str:
    return "why the loops trail is" if name == ATTRIBUTION else "the loops that use it are"


def wanted_of(investigation: Investigation, plan: list[Instance]) -> Wanted:
    """The executions of every seed."""
    return {
        (name, seed): execution
        for seed in investigation.scale.seeds
        for name, execution in executions(plan, investigation.series, seed).items()
    }


def _confirmed(investigation: Investigation, plan: list[Instance], wanted: Wanted) -> dict[str, str]:
    """Executes what the store has not; instance → why it failed, noted among the failures."""
    if investigation.retry_failed:
        for execution in wanted.values():
            investigation.store.forget_failure(execution.address)
    failed = doomed(wanted, investigation.store)
    left = {key: execution for key, execution in wanted.items() if key not in failed}
    missing = [key for key, execution in left.items() if not investigation.store.has(execution.address)]
    if missing:
        folder = investigation.root / investigation.experiment
        note_wanted(folder, investigation.series, [execution.address for execution in wanted.values()])
        scale = investigation.placed()
        slots = investigation.slots(scale, {wanted[key].kind for key in missing})
        assert investigation.tracker  # MLflow connects while the tasks run
        expected_s = {instance.name: _seconds(investigation, instance) for instance in plan}
        failed |= confirm(
            left,
            investigation.store,
            scale,
            slots,
            expected_s,
            investigation.progress,
            investigation.overhead,
        )
        num = sum(key not in failed for key in missing)
        investigation.progress.say(f"confirmation: {num} executions on seeds {investigation.scale.seeds}")
    # in the plan's order, not in that in which they happened to end
    said = [f"{name} (seed {seed}) failed: {failed[name, seed]}" for name, seed in wanted if (name, seed) in failed]
    for text in said:  # what builds on something that failed has the same reason
        if not any(known.endswith(text.partition(" failed: ")[2]) for known in investigation.failures):
            investigation.failures.append(text)
    return {name: reason for (name, _), reason in failed.items()}


def loops_of(plan: list[Instance]) -> list[dict[str, Any]]:
    """The configurations of the loop that the report shows."""
    return [
        dict(loop) for instance in plan if instance.name == "iterative" for loop in instance.config["configurations"]
    ]


def instances_of(investigation: Investigation, without: Collection[str] = ()) -> list[Instance]:
    """The instances of the confirmation, with the settings that the searches chose; `without` those that failed."""
    studies = confirmed(investigation.studies)
    configs = {name: dict(investigation.chosen_execution(study).config) for name, study in studies.items()}
    loops: dict[str, list[dict[str, Any]]] = {}
    for name, study in studies.items():
        if study.kind == "iterative":
            trials = investigation.open(study).get_trials(deepcopy=False)
            loops[name] = loop_configurations(study, best_settings(study, trials), domains_of(studies, configs))
            # the chosen trial's own batch of one makes way for every variant
            configs[name] = dict(study.config)
    return instances(studies, configs, loops, without)


def best_settings(study: Study, trials: list[FrozenTrial]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """(variant, reference or "", match) → the settings of the best feasible trial of that variant, where it has one."""
    sign = 1 if study.objective[0].mode == "max" else -1
    result: dict[tuple[str, str, str], dict[str, Any]] = {}
    for trial in sorted(journal.feasible(trials), key=lambda t: (-sign * t.values[0], t.number)):
        suggestion = nested(trial.params)
        for reference in (suggestion.get("reference", ""), ""):
            result.setdefault((suggestion["variant"], reference, suggestion.get("match", "none")), suggestion)
    return result


def write_trials(investigation: Investigation) -> None:
    """trials.json: one record per trial of every study; spaces.json: what they were drawn from."""
    records = []
    if "tracker" in vars(investigation):  # so that MLflow's ids are known
        investigation.tracker.flush()
    ledger = Ledger(investigation.root, investigation.experiment)
    for study in investigation.studies.values():
        optuna_study = investigation.open(study)
        for trial in optuna_study.get_trials(deepcopy=False):
            pipeline = journal.pipeline(trial)
            target = pipeline[-1] if pipeline else None
            there = target is not None and investigation.store.has(target.address)
            published = json.loads(investigation.store.read(target.address, "metrics.json")) if there else {}  # type: ignore[union-attr]
            records.append(
                {
                    "study": study.name,
                    "stage": study.kind,
                    "number": trial.number,
                    "state": trial.state.name,
                    "params": trial.params,
                    "metrics": published.get("final", {}),
                    "fingerprint": trial.user_attrs.get("fingerprint"),
                    "upstreams": dict(target.upstreams) if target else {},
                    "mlflow_run_id": ledger.run_id(f"{optuna_study.study_name}/{trial.number}"),
                    "seed": target.seed if target else None,
                    "seconds": published.get("seconds"),
                    "device": published.get("device"),
                    "reason": trial.user_attrs.get("reason"),
                }
            )
    _write(investigation.root / investigation.experiment / "trials.json", records)
    _write(investigation.root / investigation.experiment / "spaces.json", spaces_of(investigation.studies))


def write_confirmation(
    investigation: Investigation, plan: list[Instance], wanted: Wanted, notes: Sequence[str] = ()
) -> bool:
    """confirm.json, what the report is made from; whether anything in it but time and command is new."""
    series = load_series(investigation.store.folder(f"series/{investigation.series}"))
    seeds = list(investigation.scale.seeds)
    chosen = {}
    for name, study in investigation.studies.items():
        trial = journal.chosen(study, investigation.open(study).get_trials(deepcopy=False))
        assert trial is not None
        values = trial.values if len(trial.values) > 1 else trial.values[0]
        config = dict(investigation.chosen_execution(study).config)
        chosen[name] = {"number": trial.number, "value": values, "config": config, "params": trial.params}
    content = {
        "experiment": investigation.experiment,
        "dataset": investigation.series,
        "dataset_title": investigation.dataset_path.stem,
        "scale": investigation.scale_name,
        "seeds": seeds,
        "T": series.T,
        "pinholes": list(series.pinholes),
        "pinhole_unit": series.pinhole_unit,
        "regions_of_one_field": series.regions_of_one_field,
        "notes": [*series.notes, *notes],
        "score_against": "frame" if series.truth("test") is None else "truth",
        "iterative": {str(seed): wanted["iterative", seed].address for seed in seeds},
        "stages": {
            instance.name: {str(seed): wanted[instance.name, seed].address for seed in seeds} for instance in plan
        },
        "chosen": chosen,
        "loops": loops_of(plan),
        "baselines": list(BASELINES),
    }
    path = investigation.root / investigation.experiment / "confirm.json"
    before = _read(path)
    if {key: before.get(key) for key in content} == json.loads(json.dumps(content)):
        return False
    run = {
        "git_commit": investigation.git_commit,
        "command": investigation.command,
        "seconds": time.monotonic() - investigation.begun_s,
    }
    (path.parent / "tracked.json").unlink(missing_ok=True)
    _write(path, {**content, **run})
    return True


def _seconds(investigation: Investigation, instance: Instance) -> float:
    """What the chosen trial of the instance's study took; 0 where that is gone from the store."""
    address = investigation.addresses[instance.study.name]
    if not investigation.store.has(address):
        return 0.0
    return float(json.loads(investigation.store.read(address, "metrics.json"))["seconds"])


def _read(path: Path) -> dict[str, Any]:
    """What was confirmed before; nothing where the file is missing or damaged: then it is written again."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, content: Any) -> None:
    text = json.dumps(content, indent=1)
    if path.exists() and path.read_text() == text:
        return
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{path.stem}-{os.getpid()}.tmp")  # another driver may write, too
        aside.write_text(text)
        aside.replace(path)
