"""The confirmation: the chosen settings, their controls and the baselines on fresh seeds, as a graph of Ray tasks."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from dehazing.inference import COMBINATIONS, REFERENCES, VARIANTS, WITHOUT_G
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store, Unwritable, open_store
from dehazing.strict import nearest
from studies.agenda import MAX_LOSSES
from studies.executions import needed
from studies.overhead import Overhead
from studies.progress import Progress, time_left
from studies.scale import Scale
from studies.study import Study, laid_over


@dataclass(frozen=True)
class Instance:
    """One stage of the confirmed pipeline: `upstreams` names the instances that fill its roles."""

    name: str
    study: Study
    config: Mapping[str, Any]
    upstreams: Mapping[str, str] = field(default_factory=dict)


def instances(
    studies: Mapping[str, Study],
    configs: Mapping[str, Mapping[str, Any]],
    loops: Mapping[str, Sequence[Mapping[str, Any]]],
    without: Collection[str] = (),
) -> list[Instance]:
    """Every study's chosen settings and its controls, upstreams first; the loops last, with all variants on test.

    configs: study → settings of its chosen trial. loops: study of the stage `iterative` → its configurations.
    without: instances that failed; what builds on them is left out too.
    """
    result: list[Instance] = []
    left_out = set(without)
    for name, study in studies.items():
        if study.kind == "iterative":
            continue
        for control, changes in {name: {}, **study.controls}.items():
            config = laid_over(configs[name], changes)
            upstreams = needed(study, study.kind, config, study.upstreams)
            if control in left_out or left_out & set(upstreams.values()):
                left_out.add(control)
                continue
            result.append(Instance(control, study, config, upstreams))
    kept = {instance.name: instance.name for instance in result}
    for name, study in studies.items():
        if study.kind != "iterative":
            continue
        able = [loop for loop in loops[name] if loop["variant"] in WITHOUT_G or loop.get("degrader") not in left_out]
        config = {**study.config, "configurations": able, "split": "test", "full": True}
        if name not in left_out:
            result.append(Instance(name, study, config, needed(study, study.kind, config, {**study.upstreams, **kept})))
    return result


def check_names(studies: Mapping[str, Study]) -> None:
    """ValueError where two instances would have one name, or a loop's control is no control of a degrader."""
    names: list[str] = list(studies)
    degraders: list[str] = []
    for study in studies.values():
        if study.kind != "iterative":
            names += study.controls
        if study.kind == "degrader":
            degraders += study.controls
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(
            f"Studies and their controls must have names of their own, but these stand twice: {', '.join(doubled)}."
        )
    for study in studies.values():
        for control in study.controls if study.kind == "iterative" else ():
            if control not in degraders:
                near = f"the nearest is `{nearest(control, degraders)}`" if degraders else "there is none"
                raise ValueError(f"{study.name}.yaml: controls: no degrader has a control `{control}`; {near}.")


def loop_configurations(
    study: Study, settings: Mapping[tuple[str, str], Mapping[str, Any]], domains: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Every variant with the chosen degrader, and with each control degrader those that the study lists for it.

    settings: (variant, reference) → its best searched settings; a variant that was not searched takes the
    defaults. domains: control → domain of its degrader. A combination is run with each of its references.
    """
    lists = {"degrader": list(VARIANTS), **{control: list(names) for control, names in study.controls.items()}}
    result = []
    for role, variants in lists.items():
        for variant in variants:
            for reference in REFERENCES if variant in COMBINATIONS else ("",):
                chosen = dict(settings.get((variant, reference)) or settings.get((variant, "")) or {})
                chosen |= {"variant": variant, "name": "_".join(filter(None, [variant, reference]))}
                if reference:
                    chosen["reference"] = reference
                if role != "degrader":
                    chosen |= {"name": f"{chosen['name']}_{role}", "domain": domains[role]}
                    if variant not in WITHOUT_G:
                        chosen["degrader"] = role
                result.append(chosen)
    return result


def executions(plan: Sequence[Instance], dataset: str, seed: int) -> dict[str, Execution]:
    """The executions of one seed by instance: each upstream is the same seed's."""
    result: dict[str, Execution] = {}
    for instance in plan:
        upstreams = {role: result[other].address for role, other in instance.upstreams.items()}
        result[instance.name] = Execution(instance.study.kind, instance.config, dataset, seed, upstreams)
    return result


def doomed(wanted: Mapping[tuple[str, int], Execution], store: Store) -> dict[tuple[str, int], str]:
    """Those that the store remembers to fail, or that build on such a one, with the reason."""
    reasons: dict[str, str] = {}  # address → reason
    result = {}
    for key, execution in wanted.items():
        if store.has(execution.address):
            continue
        own = store.failure(execution.address)
        above = next((reasons[address] for address in execution.upstreams.values() if address in reasons), None)
        reason = own if own is not None else above
        if reason is not None:
            result[key] = reasons[execution.address] = reason
    return result


def confirm(
    wanted: Mapping[tuple[str, int], Execution],
    store: Store,
    scale: Scale,
    slots: int,
    expected_s: Mapping[str, float],
    progress: Progress,
    overhead: Overhead,
) -> dict[tuple[str, int], str]:
    """Execute what the store has not, each once and after its upstreams; what waits holds no CPU.

    wanted: (instance, seed) → execution, upstreams first. expected_s: instance → seconds, for the time left.
    Returns the reasons of those that failed. Unwritable where the store cannot be written.
    """
    import ray

    missing: dict[str, tuple[tuple[str, int], Execution]] = {}
    for key, execution in wanted.items():
        if not store.has(execution.address):
            missing.setdefault(execution.address, (key, execution))
    device = "cuda" if scale.num_gpus else "cpu"
    task = ray.remote(num_cpus=scale.num_cpus, num_gpus=scale.num_gpus, max_retries=MAX_LOSSES)(_execute)
    running: dict[Any, str] = {}
    refs: dict[str, Any] = {}
    for address, (_, execution) in missing.items():
        waits_for = [refs[upstream] for upstream in execution.upstreams.values() if upstream in refs]
        refs[address] = task.remote(address, asdict(execution), store.place, device, scale.num_cpus, *waits_for)
        running[refs[address]] = address
    failed: dict[tuple[str, int], str] = {}
    weights = {address: expected_s.get(key[0], 30.0) for address, (key, _) in missing.items()}
    total, done = sum(weights.values()), 0.0
    begun_s = time.monotonic()
    try:
        while running:
            ready, _ = ray.wait(list(running), num_returns=1, timeout=1.0)
            for ref in ready:
                address = running.pop(ref)
                done += weights[address]
                try:
                    outcome = ray.get(ref)
                except ray.exceptions.RayError as error:  # a worker that was lost too often, or could not go on
                    outcome = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[-300:]}"}
                overhead.worked(1, outcome.get("spent", {}), outcome.get("busy_s", 0.0))
                if "unwritable" in outcome:
                    raise Unwritable(outcome["unwritable"])
                if "failed" in outcome:
                    failed[missing[address][0]] = outcome["failed"]
            left = time_left(time.monotonic() - begun_s, done, total) or total / slots
            num_done = len(missing) - len(running)
            progress.show("confirmation", num_done, len(missing), min(slots, len(running)), left_s=left)
    except (KeyboardInterrupt, Unwritable):
        for ref in running:
            ray.cancel(ref, force=False)
        ray.wait(list(running), num_returns=len(running), timeout=5.0)
        raise
    finally:
        overhead.searched(time.monotonic() - begun_s, 0.0)
    return failed


def _execute(
    address: str, fields: dict[str, Any], place: str, device: str, num_threads: int, *upstreams: dict[str, Any]
) -> dict[str, Any]:
    """In a worker: make sure that the execution is published, or say why not: {failed} or {unwritable}."""
    import torch

    from dehazing.pipeline.clock import Clock
    from dehazing.pipeline.execute import executing
    from dehazing.pipeline.failure import DETERMINISTIC, reason_of

    unmet = [{"failed": outcome["failed"]} for outcome in upstreams if "failed" in outcome]
    unmet += [{"unwritable": outcome["unwritable"]} for outcome in upstreams if "unwritable" in outcome]
    if unmet:
        return unmet[0]
    torch.set_num_threads(num_threads)
    clock, begun_s = Clock(), time.monotonic()
    outcome: dict[str, Any] = {}
    try:
        for _ in executing(Execution.at(address, fields), open_store(place), device, clock=clock):
            pass  # epochs are in the published history
    except Unwritable as error:
        outcome = {"unwritable": str(error)}
    except DETERMINISTIC as error:
        outcome = {"failed": reason_of(error)}
    return {**outcome, "spent": clock.seconds, "busy_s": time.monotonic() - begun_s}
