"""The confirmation: the chosen settings, their controls and the baselines on fresh seeds, as executions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from dehazing.inference import COMBINATIONS, MATCHES, REFERENCES, VARIANTS, WITHOUT_G
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store
from dehazing.strict import nearest
from studies.executions import in_domain, needed
from studies.reading import laid_over
from studies.study import Study

ATTRIBUTION = "attribution"  # the stage that is evaluated here alone, and its instance


@dataclass(frozen=True)
class Instance:
    """One stage of the confirmed pipeline: `upstreams` names the instances that fill its roles.

    study: whose settings it has; its stage is of that study's kind unless `own_kind` says another.
    """

    name: str
    study: Study
    config: Mapping[str, Any]
    upstreams: Mapping[str, str] = field(default_factory=dict)
    own_kind: str = ""

    @property
    def kind(self) -> str:
        return self.own_kind or self.study.kind


def unconfirmed(studies: Mapping[str, Study]) -> dict[str, str]:
    """Study → why it is no part of the confirmation: it searches several stages jointly, or builds on such a one.

    There a trial chooses what it builds on, so that on another seed there is no chosen instance of that.
    """
    reasons: dict[str, str] = {}
    for name, study in studies.items():
        above = next((other for other in study.upstreams.values() if other in reasons), None)
        if study.joint:
            reasons[name] = f"`{name}` searches several stages jointly: it is not confirmed"
        elif above is not None:
            reasons[name] = f"`{name}` builds on `{above}`, which is not confirmed: neither is it"
    return reasons


def confirmed(studies: Mapping[str, Study]) -> dict[str, Study]:
    """The studies whose chosen settings are confirmed; upstreams first, as `studies`."""
    without = unconfirmed(studies)
    return {name: study for name, study in studies.items() if name not in without}


def instances(
    studies: Mapping[str, Study],
    configs: Mapping[str, Mapping[str, Any]],
    loops: Mapping[str, Sequence[Mapping[str, Any]]],
    without: Collection[str] = (),
) -> list[Instance]:
    """The chosen settings of every study that is confirmed, and its controls, upstreams first; the loops last.

    The loops run with all variants, on the test fields; ATTRIBUTION follows those that are reported.

    configs: study → settings of its chosen trial. loops: study of the stage `iterative` → its configurations.
    without: instances that failed; what builds on them is left out too.
    """
    studies = confirmed(studies)
    result: list[Instance] = []
    left_out = set(without)
    for name, study in studies.items():
        if study.kind == "iterative":
            continue
        for control, changes in {name: {}, **study.controls}.items():
            config = laid_over(configs[name], changes)
            above = {other: other for other in (*left_out, *(instance.name for instance in result))}
            upstreams = needed(study, study.kind, config, {**above, **study.upstreams})
            if control in left_out or left_out & set(upstreams.values()):
                left_out.add(control)
                continue
            result.append(Instance(control, study, config, upstreams))
    above = {other: other for other in (*left_out, *(instance.name for instance in result))}
    for name, study in studies.items():
        if study.kind != "iterative" or name in left_out:
            continue
        able = [loop for loop in loops[name] if not left_out & set(_upstreams(study, [loop], above).values())]
        result.append(Instance(name, study, _config(study, able), _upstreams(study, able, above)))
        asked = attributed_loops(able)
        if name == "iterative" and asked and ATTRIBUTION not in left_out:
            config = {"configurations": asked, "split": "test"}
            upstreams = needed(study, ATTRIBUTION, config, {**above, **study.upstreams})
            result.append(Instance(ATTRIBUTION, study, config, upstreams, own_kind=ATTRIBUTION))
    return result


def attributed_loops(loops: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those whose error is attributed to modules and levels: the source's loop, `direct`, with every degrader.

    Not with the control in pixels, whose networks take several times as long, and from T alone.
    """
    from_T = [{key: value for key, value in loop.items() if key != "lower_starts"} for loop in loops]
    plain = [loop for loop in from_T if loop["variant"] == "direct" and loop.get("match", "none") == "none"]
    return [loop for loop in plain if loop["name"] == "direct" or loop.get("domain", "latents") == "latents"]


def _upstreams(study: Study, loops: Sequence[Mapping[str, Any]], above: Mapping[str, str]) -> dict[str, str]:
    return needed(study, study.kind, _config(study, loops), {**above, **study.upstreams})


def _config(study: Study, loops: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {**study.config, "configurations": [*loops], "split": "test", "full": True}


def check_names(studies: Mapping[str, Study]) -> None:
    """ValueError where two instances would have one name, or a control builds on one that is not there.

    A loop's control is a control of a degrader; one in pixels builds on the control of the restorer in pixels.
    """
    names: list[str] = list(studies)
    degraders: list[str] = []
    for name, study in studies.items():
        if study.kind != "iterative":
            names += study.controls
        if study.kind == "degrader" and name in confirmed(studies):
            degraders += study.controls
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(
            f"Studies and their controls must have names of their own, but these stand twice: {', '.join(doubled)}."
        )
    above = {name: name for name in names}
    for study in confirmed(studies).values():
        for changes in study.controls.values() if study.kind != "iterative" else ():
            needed(study, study.kind, laid_over(study.config, changes), {**above, **study.upstreams})
    for study in confirmed(studies).values():
        for control in study.controls if study.kind == "iterative" else ():
            if control not in degraders:
                near = f"the nearest is `{nearest(control, degraders)}`" if degraders else "there is none"
                raise ValueError(f"{study.name}.yaml: controls: no degrader has a control `{control}`; {near}.")


def loop_configurations(
    study: Study, settings: Mapping[tuple[str, str, str], Mapping[str, Any]], domains: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Every variant with the chosen degrader, and with each control degrader those that the study lists for it.

    settings: (variant, reference, match) → its best searched settings; a variant that was not searched takes the
    defaults. domains: of the chosen degraders by study, and of their controls. A combination is run with each of its
    references; what was searched with matched moments stands, as "…_matched" or "…_matched_of_field", beside the
    variant's own form. The study's `starts` begin at every lower level, too, with the chosen degrader, unmatched.
    """
    of_chosen = domains.get(study.upstreams.get("degrader", ""), "latents")
    lists = {"degrader": list(VARIANTS), **{control: list(names) for control, names in study.controls.items()}}
    result = []
    for role, variants in lists.items():
        for variant in variants:
            references = REFERENCES if variant in COMBINATIONS else ("",)
            for reference, match in product(references, MATCHES):
                if match != "none" and (role != "degrader" or (variant, reference, match) not in settings):
                    continue
                chosen = dict(settings.get((variant, reference, match)) or settings.get((variant, "", match)) or {})
                ending = match.replace("moments", "matched") if match != "none" else ""
                chosen |= {"variant": variant, "name": "_".join(filter(None, [variant, reference, ending]))}
                if reference:
                    chosen["reference"] = reference
                if role != "degrader":
                    chosen |= {"name": f"{chosen['name']}_{role}", "domain": domains[role]}
                    if variant not in WITHOUT_G:
                        chosen["degrader"] = role
                elif variant in study.starts and match == "none":
                    chosen["lower_starts"] = True
                result.append(chosen if role != "degrader" else in_domain(chosen, of_chosen))
    return result


def domains_of(studies: Mapping[str, Study], configs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Degrader's study or control → the domain that it is trained in; configs: study → settings of its chosen trial."""
    return {
        name: {**configs[study.name], **changes}.get("domain", "latents")
        for study in studies.values()
        if study.kind == "degrader"
        for name, changes in {study.name: {}, **study.controls}.items()
    }


def executions(plan: Sequence[Instance], dataset: str, seed: int) -> dict[str, Execution]:
    """The executions of one seed by instance: each upstream is the same seed's."""
    result: dict[str, Execution] = {}
    for instance in plan:
        upstreams = {role: result[other].address for role, other in instance.upstreams.items()}
        result[instance.name] = Execution(instance.kind, instance.config, dataset, seed, upstreams)
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
