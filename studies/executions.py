"""From what a study and a trial say to the execution that the store knows."""

from __future__ import annotations

import importlib
import json
import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import optuna

from dehazing.inference import VARIANTS
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.fingerprint import code_version, fingerprint
from dehazing.stages import KINDS, stage_module
from dehazing.strict import from_mapping, nearest, to_mapping
from search_spaces import joint
from search_spaces.ranges import overridden
from studies.reading import laid_over
from studies.samplers import sampler_for
from studies.study import KIND_OF, Study

BUDGET = ("num_trials", "max_hours", "max_gpu_hours", "batch")  # what may change without being another search
NUM_SAMPLES = 32  # suggestions that a space is tried with before anything starts


def space_of(study: Study) -> Callable[[optuna.Trial], None]:
    """The define-by-run function of the study's stages with the study's ranges; it can be pickled."""
    own = importlib.import_module(f"search_spaces.{study.kind}")
    ranges = own_ranges(study)
    if not study.joint:
        return partial(own.space, ranges=ranges[""])
    parts = {
        role: (importlib.import_module(f"search_spaces.{role or study.kind}").space, ranges[role]) for role in ranges
    }
    return partial(joint.space, parts=parts)


def own_ranges(study: Study) -> dict[str, dict[str, Any]]:
    """role → the ranges of its stage's space with the study's overrides, upstreams first; "" is the study's stage."""
    result = {}
    for role in (*(kind for kind in KINDS if kind in study.joint), ""):
        overrides = study.joint[role].space if role else study.space
        where = f"{study.name}.yaml: {f'joint: {role}: ' if role else ''}space"
        kind = role or study.kind
        module = importlib.import_module(f"search_spaces.{kind}")
        result[role] = overridden(module.RANGES, overrides, where, getattr(module, "FIXED", {}), _settings_of(kind))
    return result


def _settings_of(kind: str) -> dict[str, Any]:
    """Every setting of a stage that is trained, with its default; of the loop, nothing beside its space is searched.

    There the networks are frozen, and its domain is that of the degrader that the study builds on.
    """
    return {} if kind == "iterative" else _leaves(to_mapping(stage_module(kind).Config()))


def _leaves(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """{"a": {"b": …}} as {"a/b": …}."""
    result: dict[str, Any] = {}
    for name, value in mapping.items():
        inner = _leaves(value) if isinstance(value, Mapping) else {"": value}
        result |= {f"{name}/{key}" if key else name: entry for key, entry in inner.items()}
    return result


def ranges_of(study: Study) -> dict[str, Any]:
    """Parameter → its range; those of a jointly searched stage as "role/name"."""
    parts = own_ranges(study).items()
    return {f"{role}/{name}" if role else name: domain for role, ranges in parts for name, domain in ranges.items()}


def with_sampler(study: Study) -> Study:
    """The study with the sampler that its `auto` stands for."""
    if study.sampler != "auto":
        return study
    space, ranges = space_of(study), ranges_of(study)
    sampling = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen: list[set[str]] = []
    for _ in range(NUM_SAMPLES):
        trial = sampling.ask()
        space(trial)
        seen.append(set(trial.params))
    num_conditional = len(set[str]().union(*seen) - seen[0].intersection(*seen))
    name = sampler_for(ranges, len(study.objective), study.num_trials, num_conditional)
    return replace(study, sampler=name)  # type: ignore[arg-type]


def searched_config(study: Study, suggestion: Mapping[str, Any], domain: str = "latents") -> dict[str, Any]:
    """The stage's settings for a suggestion; the loop's suggestion is one configuration of a batch of one.

    domain: that the loop runs in.
    """
    own = {name: value for name, value in suggestion.items() if name not in study.joint}
    if study.kind == "iterative":
        return {**study.config, "configurations": [in_domain(own, domain)]}
    return laid_over(study.config, own)


def in_domain(configuration: Mapping[str, Any], domain: str) -> dict[str, Any]:
    """The loop's configuration in a domain; latents, the default, go without saying."""
    return {**configuration} if domain == "latents" else {**configuration, "domain": domain}


def pipeline_of(
    study: Study,
    dataset: str,
    seed: int,
    upstreams: Mapping[str, str],
    suggestion: Mapping[str, Any],
    domain: str = "latents",
) -> list[Execution]:
    """The executions that a suggestion asks for: those of the stages searched jointly, then the study's own.

    upstreams: role → address, of the studies that fill them; of these, those needed are used. domain: of the degrader
    among them, in which the loop then runs; in that of the degrader which is searched jointly, where one is.
    """
    addresses, result = dict(upstreams), []
    for role in (kind for kind in KINDS if kind in study.joint):
        config = laid_over(study.joint[role].config, suggestion.get(role, {}))
        made = Execution(role, config, dataset, seed, needed(study, role, config, addresses))
        addresses[role] = made.address
        result.append(made)
        domain = config.get("domain", "latents") if role == "degrader" else domain
    config = searched_config(study, suggestion, domain)
    target = Execution(study.kind, config, dataset, seed, needed(study, study.kind, config, addresses))
    return [*_reached(target, result), target]


def _reached(target: Execution, others: Sequence[Execution]) -> list[Execution]:
    """Those of `others` that the target builds on, in their order."""
    wanted = set(target.upstreams.values())
    kept = []
    for execution in reversed(others):
        if execution.address in wanted:
            kept.append(execution)
            wanted |= set(execution.upstreams.values())
    return kept[::-1]


def needed(study: Study, kind: str, config: Mapping[str, Any], upstreams: Mapping[str, str]) -> dict[str, str]:
    """Those of the upstreams that a stage builds on with these settings."""
    module = stage_module(kind)
    roles = module.needs(from_mapping(module.Config, config, f"{study.name}: the settings of {kind}"))
    for role in roles:
        if role not in upstreams:
            raise ValueError(
                f"{study.name}.yaml: `upstreams` must name the study that fills the role `{role}`, "
                f"which these settings of {kind} need, but names {', '.join(upstreams) or 'none'}."
            )
    return {role: upstreams[role] for role in roles}


def check(study: Study, num_samples: int = NUM_SAMPLES) -> list[dict[str, Any]]:
    """Samples of the space, each checked against the stage's Config. ValueError where the stage has no such setting."""
    space = space_of(study)
    try:
        pickle.dumps(space)
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise ValueError(
            f"{study.name}: the search space must be a function of a module, so that it can be pickled, but: {error}."
        ) from error
    if with_sampler(study).sampler == "grid":
        for name, domain in ranges_of(study).items():
            if "choices" not in domain and "step" not in domain and not isinstance(domain["low"], int):
                raise ValueError(f"{study.name}.yaml: the sampler grid needs a `step` or `choices` for `{name}`.")
    sampling = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    upstreams = {role: role for role in study.upstreams}
    suggestions = []
    for _ in range(num_samples):
        trial = sampling.ask()
        space(trial)
        suggestion = nested(trial.params)
        try:
            pipeline_of(study, "", 0, upstreams, suggestion)
        except ValueError as error:
            raise ValueError(f"{study.name}: its search space and settings must fit its stage: {error}") from error
        suggestions.append(suggestion)
    _check_ends(study, sampling.get_trials(deepcopy=False), upstreams)
    ranges = ranges_of(study)
    for point in points_of(study):
        fitting = {name: value for name, value in point.items() if _within(value, ranges.get(name, {}))}
        sampling.enqueue_trial(fitting)
        trial = sampling.ask()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna warns of a value between a range's steps and samples another one
            space(trial)
        taken = [name for name, value in fitting.items() if trial.params.get(name) == value and name in trial.params]
        lost = [f"{name}: {value}" for name, value in point.items() if name not in taken]
        if lost:
            raise ValueError(
                f"{study.name}.yaml: points: every entry must be a parameter of the space, within its range and in use "
                f"with the others, but {', '.join(lost)} in {point} is not; the space has {', '.join(ranges)}."
            )
    for role in own_ranges(study):
        config, where = (study.joint[role].config, f"joint: {role}: ") if role else (study.config, "")
        # what is searched only where a study says so may stand in the `config` of a scale: the search replaces it
        for name in importlib.import_module(f"search_spaces.{role or study.kind}").RANGES:
            if (role or study.kind) != "iterative" and name in config:
                raise ValueError(
                    f"{study.name}.yaml: {where}config: `{name}` is searched, so it cannot be fixed there; "
                    f"fix it in the space instead: space.{name}={config[name]}."
                )
    for name, changes in study.controls.items():
        if name == study.name:
            raise ValueError(f"{study.name}.yaml: controls: a control needs another name than its study, `{name}`.")
        try:
            _check_control(study, changes, suggestions[0], upstreams)
        except ValueError as error:
            raise ValueError(f"{study.name}.yaml: controls: `{name}`: {error}") from error
    return suggestions


def points_of(study: Study) -> list[dict[str, Any]]:
    """The study's points as its space asks for them: a list is the choice, a text, that says the same list."""
    ranges = ranges_of(study) if study.points else {}
    return [
        {name: _asked_for(value, ranges.get(name, {}).get("choices", ())) for name, value in point.items()}
        for point in study.points
    ]


def _asked_for(value: Any, choices: Sequence[Any]) -> Any:
    """By value, as -8 is -8.0 but not so in writing."""
    if not isinstance(value, (list, tuple)):
        return value
    texts = [choice for choice in choices if isinstance(choice, str) and choice.startswith("[")]
    return next((text for text in texts if json.loads(text) == [*value]), json.dumps(value))


def _within(value: Any, domain: Mapping[str, Any]) -> bool:
    if "choices" in domain:
        return value in domain["choices"]
    return bool(domain) and isinstance(value, (int, float)) and domain["low"] <= value <= domain["high"]


def _check_ends(study: Study, trials: Sequence[optuna.trial.FrozenTrial], upstreams: Mapping[str, str]) -> None:
    """Both ends of every range must be settings of the stage, as samples hardly ever meet them."""
    for name, domain in ranges_of(study).items():
        params = next((trial.params for trial in trials if name in trial.params), None)
        if params is None or "choices" in domain:
            continue
        for end in ("low", "high"):
            try:
                pipeline_of(study, "", 0, upstreams, nested({**params, name: domain[end]}))
            except ValueError as error:
                raise ValueError(f"{study.name}.yaml: space: `{name}`: `{end}` must fit its stage: {error}") from error


def _check_control(study: Study, changes: Any, suggestion: Mapping[str, Any], upstreams: Mapping[str, str]) -> None:
    if study.kind != "iterative":
        if not isinstance(changes, Mapping):
            raise ValueError(f"it must be a mapping of settings, but is {changes!r}.")
        addresses = {role: role for role in (*KIND_OF, *study.joint, *upstreams)}  # a control may fill those of KIND_OF
        needed(study, study.kind, laid_over(searched_config(study, suggestion), changes), addresses)
        return
    if isinstance(changes, str) or not isinstance(changes, Sequence):
        raise ValueError(f"it must be a list of variants, but is {changes!r}.")
    for variant in changes:
        if variant not in VARIANTS:
            raise ValueError(f"there is no variant `{variant}`; the nearest is `{nearest(str(variant), VARIANTS)}`.")


def nested(params: Mapping[str, Any]) -> dict[str, Any]:
    """{"alpha/kind": …} as {"alpha": {"kind": …}}, and a list that was asked for as text as a list."""
    result: dict[str, Any] = {}
    for name, value in params.items():
        *path, last = name.split("/")
        place = result
        for key in path:
            place = place.setdefault(key, {})
        place[last] = json.loads(value) if isinstance(value, str) and value.startswith("[") else value
    return result


def flattened(suggestion: Mapping[str, Any]) -> dict[str, Any]:
    """What `nested` was made from."""
    leaves = _leaves(suggestion).items()
    return {name: json.dumps(value) if isinstance(value, list) else value for name, value in leaves}


def study_key(study: Study, experiment: str, dataset: str, seed: int, upstreams: Mapping[str, str]) -> str:
    """The name of the study's search in the journal: another question, space, input or code is another search.

    The budgets are not part of it, so that a larger one goes on where a smaller one ended.
    """
    asked = to_mapping(study)
    for key in ("question", "controls", "starts", "choose", "upstreams", *BUDGET):
        del asked[key]
    asked["space"] = ranges_of(study)
    asked["joint"] = {role: part["config"] for role, part in asked["joint"].items()}
    code = [code_version(f"dehazing.stages.{kind}") for kind in (*study.joint, study.kind)]
    search = fingerprint(asked=asked, dataset=dataset, seed=seed, upstreams=upstreams, code=code)
    return f"{experiment}/{study.name}/{search}"
