"""A scale: what all studies share at one size of the investigation, read from scales.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from dehazing.strict import from_mapping, nearest
from studies.reading import FOLDER


@dataclass(frozen=True)
class Scale:
    """Settings of the whole investigation; `None` for num_parallel means one trial per CPU share.

    num_seeds: fresh seeds of the confirmation (search_seed + 1, …). dataset: dataset kind → overrides of its keys.
    num_cpus: CPUs (and threads) of one trial. num_gpus: the share of a GPU.
    """

    num_seeds: int = 2
    search_seed: int = 0
    dataset: Mapping[str, Any] = field(default_factory=dict)
    num_parallel: int | None = None
    num_cpus: int = 1
    num_gpus: float = 0.0

    def __post_init__(self) -> None:
        least = {"num_seeds": 1, "num_cpus": 1, "num_parallel": 1, "search_seed": 0, "num_gpus": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and not low <= value < 2**31:
                raise ValueError(f"`{low} <= {name} < 2 ** 31` must hold, but got {value}.")

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
    return from_mapping(Scale, {**mappings[name], **(settings or {})}, f"scale `{name}`")


def _mappings() -> dict[str, Any]:
    return yaml.safe_load((FOLDER / "scales.yaml").read_text())
