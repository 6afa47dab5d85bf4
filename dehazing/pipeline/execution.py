"""One run of one stage: everything that decides its result, and the address of that result in the store."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dehazing.pipeline.fingerprint import code_version, fingerprint
from dehazing.stages import stage_module
from dehazing.strict import from_mapping, to_mapping


class OtherCode(ValueError):
    """The code of this process is not that of the one that asks."""


@dataclass(frozen=True)
class Execution:
    """A stage, its settings, its data, its seed and what it builds on.

    `config` may leave out settings: it is completed with the defaults of the stage's `Config`, so that one
    set of settings has one fingerprint however it is written. ValueError for a kind or a setting that does
    not exist, and where the roles of `upstreams` are not those that the settings need.
    """

    kind: str  # unet | nafnet | hdn | hvae | restorer | degrader | iterative
    config: Mapping[str, Any]
    dataset: str  # fingerprint of the series in the store
    seed: int
    upstreams: Mapping[str, str] = field(default_factory=dict)  # role → address, "hvae/ab12…"

    def __post_init__(self) -> None:
        module = stage_module(self.kind)
        config = from_mapping(module.Config, self.config, f"the settings of {self.kind}")
        object.__setattr__(self, "config", to_mapping(config))
        needed = sorted(module.needs(config))
        if sorted(self.upstreams) != needed:
            raise ValueError(
                f"{self.kind} with these settings must build on {needed}, but was given {sorted(self.upstreams)}."
            )

    @property
    def code_version(self) -> str:
        """Of the stage's module and the modules it imports."""
        return code_version(f"dehazing.stages.{self.kind}")

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits; equal fingerprints stand for equal results."""
        return fingerprint(**self.record())

    @property
    def address(self) -> str:
        """Where the result is in the store."""
        return f"{self.kind}/{self.fingerprint}"

    @classmethod
    def at(cls, address: str, fields: Mapping[str, Any]) -> Execution:
        """The execution that another process calls by `address`. OtherCode where this process's code differs."""
        found = cls(**fields)
        if found.address != address:
            raise OtherCode(
                f"All processes of a run must have the same code, but what the driver calls {address} is "
                f"{found.address} on {socket.gethostname()}: it was changed meanwhile, or differs between nodes."
            )
        return found

    def record(self) -> dict[str, Any]:
        """What the fingerprint is made of, as it is published in `config.json`."""
        return {
            "kind": self.kind,
            "code_version": self.code_version,
            "config": dict(self.config),
            "dataset": self.dataset,
            "seed": self.seed,
            "upstreams": dict(self.upstreams),
        }
