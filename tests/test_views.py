"""A saved view has what MLflow's page asks of one, and fits into a tag."""

from __future__ import annotations

import json
from dataclasses import asdict
from urllib.parse import parse_qs, urlsplit

from studies.tracking.open_run import MAX_TAG
from studies.tracking.views import MOST_AXES, PREFIX, View, address_of, tag_of

VIEW = View("my degrader, ψ", ["lambda_cyc"], ["val/psnr_direct"])


def test_a_view_is_of_the_finished_runs_below_one_the_best_first_and_its_address_asks_for_it():
    name, value = tag_of(asdict(VIEW), "ab12", 5)
    told = json.loads(value)
    state = json.loads(told["state"])
    assert (told["name"], told["createdAt"]) == (VIEW.name, 5)
    assert state["searchFilter"] == "tags.`mlflow.parentRunId` = 'ab12' AND attributes.status = 'FINISHED'"
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`val/psnr_direct`", False)
    (chart,), (section,) = state["compareRunCharts"], state["compareRunSections"]
    assert chart["selectedParams"] == ["lambda_cyc"] and chart["selectedMetrics"] == ["val/psnr_direct"]
    assert chart["metricSectionId"] == section["uuid"]
    asked = parse_qs(urlsplit(address_of(asdict(VIEW), "7").removeprefix("#")).query)
    assert name == PREFIX + asked["viewStateShareKey"][0] and name.isascii()


def test_a_view_of_many_parameters_fits_into_a_tag():
    many = View("x" * 40, [f"degrader/{number:030d}" for number in range(100)], ["val/psnr", "val/smoothness"])
    _, value = tag_of(asdict(many), "ab" * 16, 10**13)
    assert len(value) <= MAX_TAG
    assert len(json.loads(json.loads(value)["state"])["compareRunCharts"][0]["selectedParams"]) == MOST_AXES
