"""What of a result can be an objective."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from studies.study import Study


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """Whether the value is a number that an objective may have."""
    return is_number(value) and math.isfinite(value)


def reason_of_failure(study: Study, metrics: Mapping[str, Any]) -> str | None:
    """Why a trial with these final metrics has failed; None where every objective and constraint is a finite number."""
    wanted = [("objective", o.metric) for o in study.objective] + [("constraint", c.metric) for c in study.constraints]
    for what, metric in wanted:
        value = metrics.get(metric)
        if not is_finite(value):
            return f"the {what} {metric} is {'missing' if value is None else value}"
    return None
