"""The addresses in MLflow's descriptions lead to the runs that were meant."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from studies.tracking.links import address, linked

IDS = {"a": "1" * 32, "b": "2" * 32}


@pytest.mark.parametrize(
    ("keys", "metric", "path", "asked"),
    [
        (["a"], "", f"/experiments/7/runs/{IDS['a']}", {}),
        (["a", "gone", "b"], "", "/compare-runs", {"runs": [*IDS.values()], "experiments": ["7"]}),
        (["a"], "test/psnr", "/metric", {"runs": [IDS["a"]], "metric": "test/psnr", "plot_metric_keys": ["test/psnr"]}),
        (["gone"], "test/psnr", "/experiments/7/runs", {}),
    ],
)
def test_an_address_names_what_mlflow_has_of_the_runs(keys, metric, path, asked):
    text = linked("see [them](@them) and (@others)", {"them": {"keys": keys, "metric": metric}}, IDS.get, "7")
    assert text.startswith("see [them](#/") and text.endswith(") and (@others)")
    inside = text.removeprefix("see [them](#").removesuffix(") and (@others)")
    assert not set(inside) & set(' "()[]'), "Markdown and browsers take it whole"
    found = urlsplit(inside)
    given = parse_qs(found.query)
    assert found.path == path
    assert {name: json.loads(given[name][0]) for name in asked} == asked


def test_a_link_with_a_view_leads_to_the_runs_in_it():
    view = {"name": "degrader", "params": ["lambda_cyc"], "metrics": ["val/psnr"], "is_ascending": False}
    text = linked("[all](@all)", {"all": {"keys": ["a"], "metric": "", "view": view}}, IDS.get, "7")
    assert text == "[all](#/experiments/7/runs?viewStateShareKey=degrader&compareRunsMode=CHART)"


def test_steps_are_the_axis_of_a_metric():
    assert "&x_axis=step&" in address(["1"], "test/psnr", "7")
