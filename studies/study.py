"""A study: one question to one stage, at one scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dehazing.inference import VARIANTS
from dehazing.stages import KINDS
from dehazing.strict import nearest
from studies.metrics import METRICS

SAMPLERS = ("auto", "tpe", "random", "grid", "gp", "nsga2")
# kind → roles that its stage can build on; a role is filled by a study of the kind of that name, or of KIND_OF it
ROLES = {
    "restorer": ("hvae",),
    "degrader": ("hvae", "restorer", "restorer_pixels"),
    "iterative": (*KINDS[:-1], "restorer_pixels"),
}
KIND_OF = {"restorer_pixels": "restorer"}  # roles that a control of that kind may fill, too
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
    search space; a plain value fixes a parameter. Any other setting of the stage is searched where `space` gives it a
    range (or names it, where search_spaces has one at hand), whatever `config` says. points: suggestions to try first,
    by parameter; what a point leaves out is sampled. controls: instances trained beside the chosen one at
    confirmation, with the chosen settings but for these. scheduler: stopping trials early, by successive halving (asha)
    or against the median of those before, after `grace_epochs`. batch: trials of the stage `iterative` that one process
    evaluates together. starts: its variants that the confirmation begins at every lower level, too. Besides num_trials,
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
    starts: tuple[str, ...] = ()

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
        self._check_starts()
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
        able = ROLES.get(self.kind, ())
        for key, named in (("upstreams", self.upstreams), ("joint", self.joint)):
            roles = able if key == "upstreams" else [role for role in able if role in KINDS]
            for role in named:
                if role not in roles:
                    near = f"the nearest is `{nearest(role, roles)}`" if roles else "it builds on the dataset alone"
                    raise ValueError(f"`{key}`: the stage {self.kind} has no role `{role}`; {near}.")
        for role in self.joint:
            if role in self.upstreams:
                raise ValueError(
                    f"the role `{role}` must be filled by a study (`upstreams`) or searched (`joint`), but is both."
                )

    def _check_starts(self) -> None:
        if self.starts and self.kind != "iterative":
            raise ValueError(f"`starts` must be empty for {self.kind}, as loops alone begin at a level.")
        for name in self.starts:
            if name not in VARIANTS:
                raise ValueError(f"`starts`: there is no variant `{name}`; the nearest is `{nearest(name, VARIANTS)}`.")

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
