"""Who follows a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from optuna.trial import FrozenTrial

from dehazing.pipeline.execution import Execution


class Observer(Protocol):
    """Who is told what happens to trials; none of it may raise."""

    def begun(self, number: int, params: Mapping[str, Any], execution: Execution | None) -> None: ...

    def epoch(self, numbers: Sequence[int], execution: Execution, result: Mapping[str, Any]) -> None: ...

    def ended(self, trial: FrozenTrial, reason: str | None, metrics: Mapping[str, Any] | None) -> None: ...

    def built(self, execution: Execution, reason: str | None, metrics: Mapping[str, Any] | None) -> None: ...

    def worked(self, executions: Sequence[Execution], result: Mapping[str, Any], seconds: float) -> None: ...

    def moved(self, numbers: Sequence[int], executions: Sequence[Execution], reason: str) -> None: ...
