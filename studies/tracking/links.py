"""Addresses of MLflow's own pages, for descriptions: they name runs by key, whose ids MLflow has when it is told.

Relative to whichever page shows the description, so that they hold on every server and port.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from studies.tracking.views import address_of


def linked(text: str, links: Mapping[str, Any], run_id: Callable[[str], str | None], experiment_id: str) -> str:
    """The text with an address for every `(@name)`, of links name → {keys, metric, view}, the last perhaps missing.

    Runs that MLflow does not have are left out; a link to none leads to the experiment.
    """
    for name, link in links.items():
        ids = [found for key in link["keys"] if (found := run_id(key)) is not None]
        view = link.get("view")  # an entry that an older tracker left has none
        to = address_of(view, experiment_id) if view else address(ids, link["metric"], experiment_id)
        text = text.replace(f"(@{name})", f"({to})")
    return text


def address(ids: Sequence[str], metric: str, experiment_id: str) -> str:
    """Of a run, of several compared, or of a metric of theirs against its steps."""
    asked: dict[str, Any] = {"runs": [*ids], "experiments": [experiment_id]}
    if ids and metric:
        asked = {"runs": [*ids], "metric": metric, "experiments": [experiment_id], "plot_metric_keys": [metric]}
        return f"#/metric?{_query(asked)}&x_axis=step&y_axis_scale=linear&line_smoothness=1&show_point=true"
    if len(ids) > 1:
        return f"#/compare-runs?{_query(asked)}"
    return f"#/experiments/{experiment_id}/runs{f'/{ids[0]}' if ids else ''}"


def _query(asked: Mapping[str, Any]) -> str:
    return "&".join(f"{name}={quote(json.dumps(value, separators=(',', ':')))}" for name, value in asked.items())
