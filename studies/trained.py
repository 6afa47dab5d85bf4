"""Which networks an experiment has for `restore`: of the confirmation's first seed, or what its searches chose."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dehazing.pipeline.store import Store, open_store
from dehazing.stages.configuration import Configuration
from dehazing.strict import from_mapping, nearest
from studies.conclusion import best_settings
from studies.confirm import domains_of, loop_configurations
from studies.investigation import Investigation

ONE_SHOTS = ("unet", "nafnet", "hdn")


@dataclass(frozen=True)
class Trained:
    """One method with all that it builds on, as published."""

    label: str
    kind: str  # unet | nafnet | hdn | iterative
    series: str  # address
    addresses: Mapping[str, str]  # role → address; a one-shot's is its kind
    configuration: Configuration | None  # of a loop
    seed: int
    origin: str  # as messages say it
    store: Store

    def folder(self, address: str) -> Path:
        """A published folder; ValueError where it is gone."""
        if not self.store.has(address):
            raise ValueError(
                f"{self.label} builds on {address}, which must be in {self.store.name}, but is not there any more; "
                "`python -m studies run all` makes it again."
            )
        return self.store.folder(address)

    def folders(self) -> dict[str, Path]:
        """role → published folder."""
        return {role: self.folder(address) for role, address in self.addresses.items()}


def experiment_of(root: Path, asked: str | None, default: str) -> str:
    """The asked one, else the default, else the only confirmed one of a results folder."""
    found = sorted(path.parent.name for path in root.glob("*/confirm.json"))
    if asked is None and default not in found and len(found) == 1:
        return found[0]
    return asked or default


def find(root: Path, experiment: str, model: str, investigation: Callable[[], Investigation]) -> Trained:
    """The networks of a model (unet, nafnet, hdn, or a variant as the report names it) of an experiment.

    investigation: where nothing is confirmed, what knows the searches. ValueError where there is no such model, or
    it is not trained yet.
    """
    path = root / experiment / "confirm.json"
    if path.is_file():
        return _confirmed(json.loads(path.read_bytes()), open_store(root), experiment, model)
    return _chosen(investigation(), experiment, model)


def _confirmed(confirmation: Mapping[str, Any], store: Store, experiment: str, model: str) -> Trained:
    seed = confirmation["seeds"][0]
    stages = {name: addresses[str(seed)] for name, addresses in confirmation["stages"].items()}
    one_shots = {name: address for name, address in stages.items() if address.partition("/")[0] in ONE_SHOTS}
    address = confirmation["iterative"][str(seed)]
    if not store.has(address):
        raise ValueError(f"The confirmation {address} must be in {store.name}, but is not there any more.")
    record = json.loads(store.read(address, "config.json"))
    loops = {_label(one): one for one in record["config"]["configurations"]}
    origin = f"the confirmation of {experiment}, seed {seed}"
    series = f"series/{confirmation['dataset']}"
    return _named(model, one_shots, loops, record["upstreams"], series, seed, origin, store)


def _chosen(investigation: Investigation, experiment: str, model: str) -> Trained:
    recorded = investigation.recorded()
    studies = {name: study for name, study in investigation.studies.items() if name in investigation.addresses}
    one_shots = {name: investigation.addresses[name] for name, study in studies.items() if study.kind in ONE_SHOTS}
    loops: dict[str, Mapping[str, Any]] = {}
    upstreams: dict[str, str] = {}
    for study in investigation.studies.values():
        if study.kind != "iterative" or any(other not in investigation.addresses for other in study.upstreams.values()):
            continue
        upstreams = investigation.upstreams(study)
        degraders = {name: one for name, one in studies.items() if one.kind == "degrader"}
        configs = {name: dict(investigation.chosen_execution(one).config) for name, one in degraders.items()}
        settings = best_settings(study, recorded[study.name] or [])
        uncontrolled = replace(study, controls={})  # those are trained for the confirmation
        found = loop_configurations(uncontrolled, settings, domains_of(degraders, configs))
        loops = {_label(one): one for one in found}
    if not one_shots and not loops:
        raise ValueError(
            f"{investigation.root} holds nothing trained of the experiment {experiment}; `python -m studies run all` "
            "trains its networks."
        )
    seed = investigation.scale.search_seed
    series, origin = f"series/{investigation.series}", f"the search of {experiment}, not confirmed yet"
    return _named(model, one_shots, loops, upstreams, series, seed, origin, investigation.store)


def _named(
    model: str,
    one_shots: Mapping[str, str],
    loops: Mapping[str, Mapping[str, Any]],
    upstreams: Mapping[str, str],
    series: str,
    seed: int,
    origin: str,
    store: Store,
) -> Trained:
    if model in one_shots:
        kind = one_shots[model].partition("/")[0]
        return Trained(model, kind, series, {kind: one_shots[model]}, None, seed, origin, store)
    label = model if model in loops else f"{model}_previous"  # of a combination, the source's form
    if label not in loops:
        known = [*one_shots, *loops]
        raise ValueError(f"--model: {origin} has no `{model}`; the nearest is `{nearest(model, known)}`.")
    configuration = from_mapping(Configuration, loops[label], f"the settings of {label}")
    return Trained(label, "iterative", series, upstreams, configuration, seed, origin, store)


def _label(configuration: Mapping[str, Any]) -> str:
    return configuration.get("name") or configuration.get("variant", "direct")
