"""A study: one question to one stage, read strictly from YAML, at one scale."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from dehazing.stages import KINDS
from dehazing.strict import from_mapping, nearest
from studies.metrics import METRICS
from studies.own_files import own_studies

FOLDER = Path(__file__).parent
SAMPLERS = ("auto", "tpe", "random", "grid", "gp", "nsga2")
# kind → roles that its stage can build on; a role is filled by a study of the kind of that name
ROLES = {"restorer": ("hvae",), "degrader": ("hvae", "restorer", "unet"), "iterative": KINDS[:-1]}
RUN_METRICS = ("seconds",)  # of any execution, for constraints
Sampler = Literal["auto", "tpe", "random", "grid", "gp", "nsga2"]


@dataclass(frozen=True)
class Objective:
    """A final metric of the stage and where it should go."""

    metric: str
    mode: Literal["min", "max"]


@dataclass(frozen=True)
class Choose:
    """Rule for two objectives: of the trials within `within` of the best `metric`, the best in the other one."""

    metric: str
    within: float


@dataclass(frozen=True)
class Constraint:
    """What a trial must hold to be chosen: a final metric of the stage (or `seconds`) within bounds."""

    metric: str
    at_most: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError(
                f"a constraint needs either `at_most` or `at_least`, but `{self.metric}` has both or none."
            )

    @property
    def key(self) -> str:
        return f"{self.metric} <= {self.at_most}" if self.at_most is not None else f"{self.metric} >= {self.at_least}"

    def violation(self, value: float) -> float:
        """How far `value` is beyond the bound; 0 or less where it holds."""
        return value - self.at_most if self.at_most is not None else (self.at_least or 0.0) - value


@dataclass(frozen=True)
class Joint:
    """A stage that is searched together with the study's own: its settings, its ranges, the threads of its executions.

    num_threads: default: the CPUs of a trial. More serve a stage that all others wait for while slots stand idle.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    space: Mapping[str, Any] = field(default_factory=dict)
    num_threads: int | None = None

    def __post_init__(self) -> None:
        if self.num_threads is not None and self.num_threads < 1:
            raise ValueError(f"`num_threads >= 1` must hold, but is {self.num_threads}.")


@dataclass(frozen=True)
class Study:
    """A study at one scale; its name is its file's stem.

    upstreams: role of the stage → study that fills it. joint: role → the stage that fills it, searched with this one:
    its parameters are called "role/name", and only what a trial changes is made anew; such a study is not confirmed.
    config: settings of the stage's Config that differ from its defaults. space: overrides of the ranges of the stage's
    search space; a plain value fixes a parameter. points: suggestions to try first, by parameter; what a point leaves
    out is sampled. controls: instances trained beside the chosen one at confirmation, with the chosen settings but for
    these. scheduler: stopping trials early, by successive halving (asha) or against the median of those before, after
    `grace_epochs`. batch: trials of the stage `iterative` that one process evaluates together. Besides num_trials,
    max_hours (of wall time, over all runs) and max_gpu_hours (of the trials) end the asking for more trials.
    """

    name: str
    question: str
    kind: str
    objective: tuple[Objective, ...]
    num_trials: int
    upstreams: Mapping[str, str] = field(default_factory=dict)
    choose: Choose | None = None
    sampler: Sampler = "auto"
    scheduler: Literal["none", "asha", "median"] = "none"
    grace_epochs: int = 5
    batch: int = 1
    max_hours: float | None = None
    max_gpu_hours: float | None = None
    constraints: tuple[Constraint, ...] = ()
    joint: Mapping[str, Joint] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    space: Mapping[str, Any] = field(default_factory=dict)
    points: tuple[Mapping[str, Any], ...] = ()
    controls: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(
                f"`kind` must be one of {', '.join(KINDS)}, but is {self.kind!r}; "
                f"the nearest is `{nearest(self.kind, KINDS)}`."
            )
        if self.num_trials < 1:
            raise ValueError(f"`num_trials >= 1` must hold, but is {self.num_trials}.")
        if not self.objective:
            raise ValueError("`objective` must name at least one metric, but names none.")
        metrics = [objective.metric for objective in self.objective]
        for metric in metrics:
            if metric not in METRICS[self.kind]:
                raise ValueError(
                    f"`objective` must be a metric that the stage {self.kind} reports at its end, but is `{metric}`; "
                    f"the nearest is `{nearest(metric, METRICS[self.kind])}`."
                )
        self._check_roles()
        self._check_budget()
        if len(metrics) > 1 and (self.choose is None or self.choose.metric not in metrics):
            raise ValueError(
                f"several objectives need `choose: {{metric: …, within: …}}` with one of {', '.join(metrics)}."
            )
        if len(metrics) > 2:
            raise ValueError(f"a study has one or two objectives, but got {len(metrics)}: {', '.join(metrics)}.")

    def num_threads(self, kind: str, num_cpus: int) -> int:
        """Threads of an execution of this study, whose trials have `num_cpus`."""
        joint = self.joint.get(kind)
        return num_cpus if joint is None or joint.num_threads is None else joint.num_threads

    def _check_roles(self) -> None:
        roles = ROLES.get(self.kind, ())
        for key, named in (("upstreams", self.upstreams), ("joint", self.joint)):
            for role in named:
                if role not in roles:
                    near = f"the nearest is `{nearest(role, roles)}`" if roles else "it builds on the dataset alone"
                    raise ValueError(f"`{key}`: the stage {self.kind} has no role `{role}`; {near}.")
        for role in self.joint:
            if role in self.upstreams:
                raise ValueError(
                    f"the role `{role}` must be filled by a study (`upstreams`) or searched (`joint`), but is both."
                )

    def _check_budget(self) -> None:
        for key, low in (("grace_epochs", 1), ("batch", 1), ("max_hours", 0.0), ("max_gpu_hours", 0.0)):
            value = getattr(self, key)
            if value is not None and not low <= value < float("inf"):
                raise ValueError(f"`{key} >= {low}` must hold, and it must be finite, but it is {value}.")
        if self.batch > 1 and self.kind != "iterative":
            raise ValueError(f"`batch` must be 1 for a stage that is trained, but is {self.batch} for {self.kind}.")
        if self.scheduler != "none" and len(self.objective) > 1:
            raise ValueError(
                f"`scheduler: {self.scheduler}` compares one objective, but the study has {len(self.objective)}; "
                "take `scheduler: none`."
            )
        valid = (*METRICS[self.kind], *RUN_METRICS)
        for constraint in self.constraints:
            if constraint.metric not in valid:
                raise ValueError(
                    f"`constraints` must be of metrics that the stage {self.kind} reports at its end, but one is of "
                    f"`{constraint.metric}`; the nearest is `{nearest(constraint.metric, valid)}`."
                )


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
            if studies[other].kind != role:
                raise ValueError(
                    f"{name}.yaml: upstreams: `{role}` must name a study of the kind {role}, "
                    f"but `{other}` is of the kind {studies[other].kind}."
                )
    return studies


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
