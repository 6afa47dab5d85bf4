"""Studies read strictly from YAML: the shipped ones and one's own, at a scale, with those that they build on."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dehazing.stages import KINDS
from dehazing.strict import from_mapping, nearest
from studies.own_files import own_studies
from studies.study import KIND_OF, Joint, Study

FOLDER = Path(__file__).parent


def study_names() -> list[str]:
    """The shipped studies, in the order in which they depend on each other."""
    mappings = {path.stem: _yaml(path) for path in sorted(FOLDER.glob("*.yaml")) if path.stem != "scales"}
    return ordered({name: mapping.get("upstreams") or {} for name, mapping in mappings.items()})


def ordered(upstreams: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Names, each after those that it needs; by name where that leaves a choice. ValueError for a circle."""
    result: list[str] = []
    while len(result) < len(upstreams):
        ready = [
            name
            for name, needed in upstreams.items()
            if name not in result and all(other in result for other in needed.values() if other in upstreams)
        ]
        if not ready:
            circle = ", ".join(sorted(set(upstreams) - set(result)))
            raise ValueError(f"The studies {circle} wait for each other: `upstreams` must not form a circle.")
        result.append(min(ready, key=lambda name: (KINDS.index(name) if name in KINDS else len(KINDS), name)))
    return result


def read_studies(
    names: Sequence[str], scale: str, settings: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Study]:
    """The named studies and those they build on, in order, at a scale.

    names: shipped studies, paths of YAML files of one's own (a file whose stem is a shipped study's name is laid
    over that one), or `all`. settings: {study: {key: …}} laid over all else. ValueError names what is unknown.
    """
    shipped = study_names()
    mappings = {name: _yaml(FOLDER / f"{name}.yaml") for name in shipped}
    wanted: list[str] = []
    mappings |= {own: laid_over(mappings.get(own, {}), _yaml(path)) for own, path in own_studies(names).items()}
    for name in names:
        if name.endswith((".yaml", ".yml")):
            wanted.append(Path(name).stem)
        elif name == "all":
            wanted += shipped
        elif name in mappings:
            wanted.append(name)
        else:
            raise ValueError(f"There is no study `{name}`; the nearest is `{nearest(name, [*mappings, 'all'])}`.")
    for name in settings or {}:
        if name not in mappings:
            raise ValueError(f"--set: there is no study `{name}`; the nearest is `{nearest(name, mappings)}`.")
    whole = {
        name: _at_scale(name, mapping, scale, (settings or {}).get(name, {})) for name, mapping in mappings.items()
    }
    needed = _with_upstreams(wanted, whole)
    studies = {
        name: from_mapping(Study, whole[name], f"{name}.yaml")
        for name in ordered({name: whole[name].get("upstreams") or {} for name in needed})
    }
    for name, study in studies.items():
        for role, other in study.upstreams.items():
            if studies[other].kind != (kind := KIND_OF.get(role, role)):
                raise ValueError(
                    f"{name}.yaml: upstreams: `{role}` must name a study of the kind {kind}, "
                    f"but `{other}` is of the kind {studies[other].kind}."
                )
        _require_one_hvae(study, studies)
        _require_domains(study, studies)
    return studies


def _require_one_hvae(study: Study, studies: Mapping[str, Study]) -> None:
    """Latents of another HVAE mean nothing to a network, so all that a study builds on must share one."""
    own = _hvae_of(study)
    for role, other in study.upstreams.items():
        theirs = _hvae_of(studies[other])
        if own is not None and theirs not in (None, own):
            raise ValueError(
                f"{study.name}.yaml: upstreams: all must share the latents of one HVAE, but `hvae` is that of "
                f"`{own}`, and the {role} of `{other}` is trained on that of `{theirs}`."
            )


def _hvae_of(study: Study) -> str | None:
    """The study whose HVAE the latents are of: the one itself where it searches the HVAE, None without latents."""
    return study.name if "hvae" in study.joint else study.upstreams.get("hvae")


def _require_domains(study: Study, studies: Mapping[str, Study]) -> None:
    """What is trained in latents means nothing in pixels, and a loop in pixels needs an R there."""
    filled: list[tuple[str, str, str, Study | Joint]] = [
        *(("upstreams", role, other, studies[other]) for role, other in study.upstreams.items()),
        *(("joint", role, role, joint) for role, joint in study.joint.items()),
    ]
    for key, role, other, made in filled:
        kind, able = KIND_OF.get(role, role), _domains_of(made)
        wanted = "pixels" if role in KIND_OF else "latents"
        if kind == "restorer" and able != (wanted,):
            raise ValueError(
                f"{study.name}.yaml: {key}: the role `{role}` must be filled by a restorer that is trained in "
                f"{wanted}, but that of `{other}` is trained in {' or '.join(able)}."
            )
        in_pixels = study.kind == "iterative" and kind == "degrader" and "pixels" in able
        if in_pixels and "restorer_pixels" not in study.upstreams:
            raise ValueError(
                f"{study.name}.yaml: `upstreams` must name the study that fills the role `restorer_pixels`, as the "
                f"degrader of `{other}` may be in pixels, but names {', '.join(study.upstreams) or 'none'}."
            )


def _domains_of(made: Study | Joint) -> tuple[str, ...]:
    """Where the networks of a study may come to be trained: what is searched replaces what its `config` says."""
    domain = made.space.get("domain", made.config.get("domain", "latents"))
    choices = domain.get("choices", ("latents",)) if isinstance(domain, Mapping) else (domain,)
    return tuple(map(str, choices)) if isinstance(choices, (list, tuple)) else (str(choices),)


def laid_over(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy of `base` in which the entries of `top` replace its own, mapping by mapping."""
    result = copy.deepcopy(dict(base))
    for key, value in top.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = laid_over(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def _at_scale(name: str, mapping: Mapping[str, Any], scale: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    where = f"{name}.yaml"
    scales = mapping.get("scales") or {}
    if not isinstance(scales, Mapping):
        raise ValueError(f"{where}: `scales` must be a mapping of scales to settings, but is {scales!r}.")
    if scale not in scales:
        raise ValueError(f"{where}: no budget for the scale `{scale}`; the nearest is `{nearest(scale, scales)}`.")
    whole = {key: value for key, value in mapping.items() if key != "scales"}
    _refuse_unknown(whole, where)
    _refuse_unknown(scales[scale], f"{where}: scales: `{scale}`")
    _refuse_unknown(settings, f"{where}: --set")
    whole = laid_over(laid_over({**whole, "name": name}, scales[scale]), settings)
    if isinstance(whole.get("objective"), Mapping):
        whole["objective"] = [whole["objective"]]
    if not isinstance(whole.get("upstreams") or {}, Mapping):
        raise ValueError(f"{where}: `upstreams` must be a mapping of roles to studies, but is {whole['upstreams']!r}.")
    return whole


def _refuse_unknown(mapping: Any, where: str) -> None:
    if not isinstance(mapping, Mapping):
        raise ValueError(f"{where} must be a mapping of keys to values, but is {mapping!r}.")
    valid = [f.name for f in dataclasses.fields(Study) if f.name != "name"]
    for key in mapping:
        if key not in valid:
            if key == "name":
                raise ValueError(f"{where}: `name` cannot be set: a study is named after its file.")
            raise ValueError(f"{where}: unknown key `{key}`; the nearest valid key is `{nearest(key, valid)}`.")


def _with_upstreams(names: Iterable[str], mappings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    found: list[str] = []
    waiting = list(names)
    while waiting:
        name = waiting.pop(0)
        if name in found:
            continue
        found.append(name)
        for role, other in (mappings[name].get("upstreams") or {}).items():
            if not isinstance(other, str) or other not in mappings:
                raise ValueError(
                    f"{name}.yaml: upstreams: `{role}` names the study `{other}`, which does not exist; "
                    f"the nearest is `{nearest(str(other), mappings)}`."
                )
            waiting.append(other)
    return found


def _yaml(path: Path) -> dict[str, Any]:
    try:
        mapping = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ValueError(f"The study {path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(mapping, dict):
        raise ValueError(f"{path} must be a mapping of keys to values, but is {type(mapping).__name__}.")
    return mapping
