"""A scale: what all studies share at one size of the investigation, read from scales.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import yaml

from dehazing.stages import KINDS, WITHOUT_STUDY
from dehazing.strict import from_mapping, nearest
from studies.reading import FOLDER, laid_over

STAGES = (*KINDS, *WITHOUT_STUDY)


@dataclass(frozen=True)
class Needs:
    """What an execution of one stage asks for; None: what the scale says for every stage."""

    num_cpus: int | None = None
    num_gpus: float | None = None
    memory_gb: float | None = None


@dataclass(frozen=True)
class Scale:
    """Settings of the whole investigation; `None` for num_parallel means as many trials as there is room for.

    num_seeds: fresh seeds of the confirmation (search_seed + 1, …). dataset: dataset kind → overrides of its keys.
    num_cpus: CPUs (and threads) of one execution. num_gpus: the share of a GPU, or a whole number of them.
    memory_gb: 1e9 bytes that are set aside for it on its machine; 0: none. gpu_share: whether a share is taken as
    `written`, or as `measured` in past executions of the stage where there are any. resources: stage → what it needs
    otherwise than all. None of these changes a result, so none is part of a fingerprint.
    """

    num_seeds: int = 2
    search_seed: int = 0
    dataset: Mapping[str, Any] = field(default_factory=dict)
    num_parallel: int | None = None
    num_cpus: int = 1
    num_gpus: float = 0.0
    memory_gb: float = 0.0
    gpu_share: Literal["written", "measured"] = "written"
    resources: Mapping[str, Needs] = field(default_factory=dict)

    def __post_init__(self) -> None:
        least = {"num_seeds": 1, "num_cpus": 1, "num_parallel": 1, "search_seed": 0, "num_gpus": 0, "memory_gb": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and not low <= value < 2**31:
                raise ValueError(f"`{low} <= {name} < 2 ** 31` must hold, but got {value}.")
        if self.num_gpus > 1 and self.num_gpus != int(self.num_gpus):
            raise ValueError(f"`num_gpus` must be a share of one GPU or a whole number, but got {self.num_gpus:g}.")
        for kind in self.resources:
            if kind not in STAGES:
                raise ValueError(f"`resources`: there is no stage `{kind}`; the nearest is `{nearest(kind, STAGES)}`.")
            try:
                self.of(kind)
            except ValueError as error:
                raise ValueError(f"`resources`, `{kind}`: {error}") from error

    def of(self, kind: str) -> Scale:
        """The scale with what it says of a stage in the place of what it says of all."""
        own = vars(self.resources.get(kind, Needs()))
        return replace(self, **{name: value for name, value in own.items() if value is not None}, resources={})

    @property
    def seeds(self) -> tuple[int, ...]:
        """The confirmation's seeds, none of them the search's."""
        return tuple(self.search_seed + 1 + i for i in range(self.num_seeds))


def scale_names() -> list[str]:
    """Scales by growing size."""
    return list(_mappings())


def read_scale(name: str, settings: Mapping[str, Any] | None = None) -> Scale:
    """The scale `name` with `settings` laid over it."""
    mappings = _mappings()
    if name not in mappings:
        raise ValueError(f"There is no scale `{name}`; the nearest is `{nearest(name, mappings)}`.")
    return from_mapping(Scale, laid_over(mappings[name], settings or {}), f"scale `{name}`")


def _mappings() -> dict[str, Any]:
    return yaml.safe_load((FOLDER / "scales.yaml").read_text())
