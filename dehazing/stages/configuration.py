"""One way to iterate: a variant of the loop with its settings, as studies search it and tables name it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dehazing import inference, schedules
from dehazing.stages.space import DOMAINS


@dataclass(frozen=True)
class Configuration:
    """One way to iterate, with its settings; those that the variant does not use are left at their defaults."""

    # scientific
    variant: str = "direct"  # of inference.VARIANTS
    alpha: dict[str, Any] = field(default_factory=lambda: {"kind": "sigmoid"})  # combine_alpha, Eq. 22-23
    direction: str = "rising"
    reference: str = "previous"
    num_refinements: int = 1
    refine_level: str = "same"
    match: str = "none"  # z_t as R sees it: none (the source's form) | moments of its level | moments_of_field
    # fixed
    degrader: str = "degrader"  # role of the upstream degrader; unused by the variants without G
    domain: str = "latents"
    name: str = ""  # in the tables; empty: the variant's
    start: int = 0  # level that the loop begins at, from what E makes of x_start; 0: T
    lower_starts: bool = False  # beside it the same loop from every level below, each under a name of its own

    def __post_init__(self) -> None:
        for key, value, valid in (
            ("variant", self.variant, tuple(inference.VARIANTS)),
            ("reference", self.reference, inference.REFERENCES),
            ("refine_level", self.refine_level, inference.REFINE_LEVELS),
            ("match", self.match, inference.MATCHES),
            ("domain", self.domain, DOMAINS),
        ):
            if value not in valid:
                raise ValueError(f"`{key}` must be one of {', '.join(valid)}, but got {value!r}.")
        if self.num_refinements < 0:
            raise ValueError(f"`num_refinements >= 0` must hold, but got {self.num_refinements}.")
        if self.start < 0:
            raise ValueError(f"`start >= 0` must hold (0 stands for T), but got {self.start}.")
        schedules.combine_alpha(self.alpha, 2, self.direction)

    @property
    def key(self) -> str:
        """Equal for configurations that differ in their names alone."""
        return json.dumps(dataclasses.asdict(dataclasses.replace(self, name="")), sort_keys=True)

    @property
    def has_G(self) -> bool:
        """Whether the loop calls the degrader."""
        return self.variant not in inference.WITHOUT_G

    @property
    def label(self) -> str:
        return self.name or (f"{self.variant}_from_{self.start}" if self.start else self.variant)

    def starts_at(self, T: int) -> int:
        """The level that the loop begins at in a series with levels 0 … T; ValueError where it has no such level."""
        if self.start > T:
            raise ValueError(f"`start` must be a level of the series, 1 … {T}, but {self.label!r} has {self.start}.")
        return self.start or T

    def settings(self, T: int, haze_alpha: Sequence[float]) -> inference.Settings:
        """What the loop takes; T: the level that it begins at, haze_alpha (T + 1,) of Eq. 2 as it was fitted."""
        return inference.Settings(
            T,
            combine_alpha=schedules.combine_alpha(self.alpha, T, self.direction).tolist(),
            num_refinements=self.num_refinements,
            haze_alpha=haze_alpha,
            reference=self.reference,
            refine_level=self.refine_level,
            match=self.match,
        )


def begun(configurations: Sequence[Configuration], T: int) -> tuple[Configuration, ...]:
    """Every configuration, followed where it has `lower_starts` by one for each level below the one it begins at.

    ValueError where one begins at a level that the series does not have, or where two come to have one name.
    """
    result: list[Configuration] = []
    for one in configurations:
        start, name = one.starts_at(T), one.name or one.variant
        below = range(start - 1, 0, -1) if one.lower_starts else ()
        result.append(one)
        result += [dataclasses.replace(one, start=s, lower_starts=False, name=f"{name}_from_{s}") for s in below]
    require_names(result)
    return tuple(result)


def require_names(configurations: Sequence[Configuration]) -> None:
    """ValueError where two configurations have one name."""
    names = [one.label for one in configurations]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(f"Every configuration must have a name of its own, but these stand twice: {doubled}.")
