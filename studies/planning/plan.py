"""`plan`: what `run` would do, what the store has of it, what it will cost. Starts nothing, stores nothing."""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dehazing.data.archive import load_series
from dehazing.data.dataset import DatasetConfig, make_series
from dehazing.data.objects import read_stack
from dehazing.data.simulator import SimulatedConfig, stack_places
from dehazing.data.synthetic import SyntheticConfig
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store
from studies import asking
from studies.conclusion import NEEDED
from studies.confirm import unconfirmed
from studies.directions import cautions_of_directions
from studies.investigation import Investigation
from studies.patches import check_patches
from studies.placement import Measured, gpu_bytes_here, is_measured, measured, placed
from studies.planning.cautions import (
    cautions_of_investigation,
    cautions_of_memory,
    cautions_of_studies,
    cautions_of_work,
)
from studies.planning.expected import Expected, confirmation, expected, shared_with_earlier
from studies.planning.forecast import Forecast, Work
from studies.planning.parameters import Parameter, parameters_of
from studies.planning.past import History
from studies.planning.text import show
from studies.reading import study_names
from studies.resources import Resources, resources_of
from studies.scale import Scale

NUM_SHOWN = 3  # sampled suggestions


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Options of `plan`."""
    asking.add_names(parser)
    asking.add_investigation(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, and nothing else")
    parser.add_argument("--no-timing", action="store_true", help="forecast from past executions alone")


def plan(arguments: argparse.Namespace) -> int:
    """Validate everything, show the spaces, count trials and executions, forecast what they cost."""
    investigation = asking.investigation(arguments)
    planned = plan_of(investigation, timing=not arguments.no_timing)
    if arguments.json:
        print(json.dumps(_finite(planned), indent=1, allow_nan=False))
    else:
        show(planned)
    return 0


def plan_of(investigation: Investigation, timing: bool = True) -> dict[str, Any]:
    """All that `plan` says, as JSON has it; ValueError for what would fail later."""
    load = os.getloadavg()[0]
    history = History(investigation.store)
    held = measured(investigation.kinds, investigation.studies, history, investigation.series)
    scale = placed(investigation.scale, held, gpu_bytes_here())
    resources = {kind: resources_of(scale, investigation.scale_name, kind) for kind in ("", *investigation.kinds)}
    notes, size = _look_at_series(investigation)
    check_patches(investigation.studies, investigation.dataset_path.stem, size)
    recorded = investigation.recorded()
    other_ways = cautions_of_directions(investigation)
    parameters = {name: parameters_of(study) for name, study in investigation.studies.items()}
    studies = expected(investigation, recorded, parameters)
    confirmed: dict[tuple[str, int], Execution] = {}
    known = False
    is_whole = set(study_names()) <= set(studies)
    left_out = unconfirmed(investigation.studies) if is_whole else {}
    if is_whole and not any(name in left_out for name in NEEDED):
        confirmed, known = confirmation(investigation, studies)
    with ExitStack() as resting:
        forecast = Forecast(investigation, resources, history, studies, parameters, confirmed.values(), timing, resting)
        series = forecast.series()
        shared = shared_with_earlier(studies)
        own = {name: [e for e in one.to_do if e.address not in shared[name]] for name, one in studies.items()}
        work = {name: forecast.work(own[name], one) for name, one in studies.items()}
        shown = [_study(one, parameters[name], forecast, work[name], shared[name]) for name, one in studies.items()]
        left = {e.address: e for e in confirmed.values() if not (known and _is_over(investigation.store, e))}
        confirming = _confirmation(investigation, confirmed, known, forecast, [*left.values()]) if confirmed else None
        totals = forecast.totals([*work.values(), forecast.work([*left.values()])])
    free_bytes = _free_bytes(investigation)
    warnings = [*other_ways, *left_out.values(), *cautions_of_investigation(investigation, bool(confirmed))]
    warnings += cautions_of_studies(studies, recorded, parameters, investigation.scale.search_seed)
    warnings += cautions_of_work(studies, work, load if forecast.num_timed else 0.0)
    warnings += cautions_of_memory(resources, held)
    if free_bytes is not None and (totals["disk_bytes"] or 0) > free_bytes:
        warnings.append("the disk of the results folder has less room than what will be written")
    return {
        "experiment": investigation.experiment,
        "root": str(investigation.root),
        "store": investigation.store.place,
        "scale": investigation.scale_name,
        "dataset": str(investigation.dataset_path),
        "series": {"fingerprint": investigation.series, "in_store": series is None, "size_px": [*size]}
        | ({"cost": series.record()} if series else {}),
        "notes": [*notes],
        "resources": vars(resources[""]) | {"stages": _stages(scale, resources, held)},
        "studies": shown,
        "search": {
            "distinct": sum(one.most - len(shared[name]) for name, one in studies.items()),
            "exact": all(one.exact for one in studies.values()),
            "in_store": len(frozenset[str]().union(*(one.in_store for one in studies.values()))),
        },
        "confirmation": confirming,
        "forecast": totals,
        "disk": {"needed_bytes": totals["disk_bytes"], "free_bytes": free_bytes},
        "warnings": warnings,
    }


def _stages(scale: Scale, resources: Mapping[str, Resources], held: Mapping[str, Measured]) -> dict[str, Any]:
    """Stage → what an execution of it runs on, where the share of a GPU comes from, what past ones held."""
    return {
        kind: {
            **vars(of),
            "gpu_share": "measured" if is_measured(scale, kind, held) else "written",
            "held": vars(held[kind]) if kind in held else None,
        }
        for kind, of in resources.items()
        if kind
    }


def _finite(value: Any) -> Any:
    """The same with None for numbers that JSON has not."""
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _study(
    one: Expected, parameters: Sequence[Parameter], forecast: Forecast, work: Work, shared: frozenset[str]
) -> dict[str, Any]:
    study = one.study
    made_before = len({e.address for e in one.to_do} & shared)
    return {
        "name": study.name,
        "question": study.question,
        "kind": study.kind,
        "objectives": [{"metric": o.metric, "mode": o.mode} for o in study.objective],
        "constraints": [vars(constraint) for constraint in study.constraints],
        "upstreams": dict(study.upstreams),
        "joint": [*study.joint],
        "settled": one.settled,
        "space": [parameter.record() for parameter in parameters],
        "samples": [dict(suggestion) for suggestion in one.suggestions[:NUM_SHOWN]],
        "trials": study.num_trials,
        "ended": one.num_ended,
        "max_hours": study.max_hours,
        "max_gpu_hours": study.max_gpu_hours,
        "sampler": one.sampler,
        "scheduler": study.scheduler,
        "batch": study.batch,
        "executions": {
            "distinct": one.most,
            "exact": one.exact,
            "in_store": len(one.in_store),
            "failed_before": len(one.failures),
            "made_before": made_before,
            "to_do": one.num_to_do - made_before,
        },
        "wall_s": work.wall_s,
        "costs": forecast.of([e for e in one.to_do if e.address not in shared]),
    }


def _confirmation(
    investigation: Investigation,
    confirmed: Mapping[tuple[str, int], Execution],
    known: bool,
    forecast: Forecast,
    left: Sequence[Execution],
) -> dict[str, Any]:
    found = {execution.address for execution in confirmed.values()}
    return {
        "seeds": [*investigation.scale.seeds],
        "instances": [*dict.fromkeys(instance for instance, _ in confirmed)],
        "distinct": len(found),
        "known": known,
        "in_store": sum(known and investigation.store.has(address) for address in found),
        "costs": forecast.of(left),
    }


def _is_over(store: Store, execution: Execution) -> bool:
    """Whether it is published, or failed in a way that would come again."""
    return store.has(execution.address) or store.failure(execution.address) is not None


def _look_at_series(investigation: Investigation) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """What there is to say of a series, and the size (Y, X) of its images; ValueError where its files do not serve."""
    address = f"series/{investigation.series}"
    if investigation.store.has(address):
        series = load_series(investigation.store.folder(address))
        return series.notes, series.fields[0].frames.shape[-2:]
    config: DatasetConfig = investigation.dataset
    source = config.source if isinstance(config, SyntheticConfig) else config
    if not isinstance(source, SimulatedConfig):
        series = make_series(config)
        return series.notes, series.fields[0].frames.shape[-2:]
    size = (source.field_px, source.field_px)
    if source.object == "lines":
        return (), size
    return tuple(stack_places(source, read_stack(Path(source.object)).shape)[1]), size


def _free_bytes(investigation: Investigation) -> int | None:
    """On the disk of the results folder; None for an object store."""
    if "://" in investigation.store.place:
        return None
    folder = Path(investigation.store.place)
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
