"""A saved view of MLflow's page of runs: the trials of a study in parallel coordinates, over axes that are chosen.

MLflow's page that compares runs (3.17) takes its axes from nothing that an address could carry: they are the first
three parameters that differ, by name, and the first metric. The page of an experiment's runs has views instead: each is
a tag of the experiment, is listed in the page's menu, and an address may ask for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

PREFIX = "mlflow.sharedViewState."  # of the tag
MOST_AXES = 20  # more are not read, and a tag has its bound


@dataclass(frozen=True)
class View:
    """The finished runs below a run, best first; params, metrics: the axes. A view of the same name is replaced."""

    name: str
    params: list[str]
    metrics: list[str]  # runs are in the order of the first
    is_ascending: bool = False


def tag_of(view: Mapping[str, Any], run_id: str, at_ms: int) -> tuple[str, str]:
    """Name and value of the experiment's tag; view: a View as a mapping, of the runs below this one."""
    chart = {
        **{"type": "PARALLEL", "uuid": "axes", "metricSectionId": "question", "displayName": view["name"]},
        **{"selectedParams": view["params"][:MOST_AXES], "selectedMetrics": view["metrics"]},
        **{"runsCountToCompare": 10, "showAllRuns": True, "isGenerated": False, "deleted": False},
    }
    section = {
        **{"uuid": "question", "name": "What the study asks about", "columns": 1, "cardHeight": 480},
        **{"display": True, "isReordered": True, "isGenerated": False, "deleted": False},
    }
    state = {
        "searchFilter": f"tags.`mlflow.parentRunId` = '{run_id}' AND attributes.status = 'FINISHED'",
        **{"orderByKey": f"metrics.`{view['metrics'][0]}`", "orderByAsc": view["is_ascending"]},
        **{"startTime": "ALL", "lifecycleFilter": "Active", "modelVersionFilter": "All Runs", "datasetsFilter": []},
        **{"runsHiddenMode": "SHOWALL", "compareRunCharts": [chart], "compareRunSections": [section]},
        "isAccordionReordered": True,  # else the sections are sorted by name, and this one is not the first
    }
    told = {"name": view["name"], "createdAt": at_ms, "updatedAt": at_ms, "state": json.dumps(state)}
    return PREFIX + _key(view), json.dumps(told)


def address_of(view: Mapping[str, Any], experiment_id: str) -> str:
    """Of the experiment's runs in this view."""
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={quote(_key(view))}&compareRunsMode=CHART"


def _key(view: Mapping[str, Any]) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", view["name"])
