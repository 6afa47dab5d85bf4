"""The benchmarks: what they compare is the same study, and each way of doing it runs and is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import engine, restoring
from benchmarks.plain_tune import chains
from benchmarks.sweeps import executions_of, points_of, read_sweep, shared_by_all
from studies.executions import check, nested, ranges_of


def pipelines(name: str, scale: str) -> list[list[str]]:
    study = read_sweep(name, scale)
    fixed = {key: r["choices"][0] for key, r in ranges_of(study).items() if len(r.get("choices", ())) == 1}
    executions = [executions_of(study, "series", nested({**fixed, **point})) for point in points_of(study)]
    return [[execution.address for execution in pipeline] for pipeline in executions]


@pytest.mark.parametrize("scale", ["smoke", "quickstart"])
@pytest.mark.parametrize(("name", "trials", "distinct"), [("joint", 24, 35), ("lambdas", 8, 10)])
def test_the_points_are_whole_and_ask_for_so_many_distinct_executions(
    name: str, trials: int, distinct: int, scale: str
) -> None:
    check(read_sweep(name, scale))
    asked = pipelines(name, scale)
    assert len(asked) == len({pipeline[-1] for pipeline in asked}) == trials
    addresses = {address for pipeline in asked for address in pipeline}
    assert len(addresses) == distinct
    assert sum(address.startswith("degrader/") for address in addresses) == {"joint": 6, "lambdas": 8}[name]


def test_what_all_trials_share_is_trained_side_by_side_where_it_can_be() -> None:
    shared = shared_by_all(read_sweep("joint", "smoke", 2), "series")
    assert [[execution.kind for execution in chain] for chain in chains(shared)] == [
        ["unet"],
        ["nafnet"],
        ["hdn"],
        ["hvae", "restorer"],
    ]


@pytest.mark.slow
@pytest.mark.timeout(1200)  # two minutes where nothing else runs
def test_every_way_runs_and_the_engine_executes_each_fingerprint_once(tmp_path: Path) -> None:
    ways = measured(tmp_path, "a,b,c", slots=2) | measured(tmp_path, "d", slots=1)
    pipeline, shared, degraders = 7, 5, len({p[-2] for p in pipelines("joint", "smoke")[:5]})
    assert degraders == 4, "some trials share a degrader"
    assert ways["a"]["executions"] == ways["a"]["distinct"] == shared + degraders + 5
    assert ways["b"]["executions"] == 5 * pipeline
    assert ways["c"]["executions"] == ways["d"]["executions"] == shared + 5 * (pipeline - shared)
    for figures in ways.values():
        assert figures["distinct"] == ways["a"]["distinct"]
        assert figures["values"] == pytest.approx(ways["a"]["values"], abs=1e-6)
        assert figures["arithmetic_s"] > 0 and figures["startup_s"] > 0


def measured(root: Path, ways: str, slots: int) -> dict[str, Any]:
    """Five trials of `joint` at smoke scale; with one slot (d) has one thread, which serves a busy machine better."""
    out = root / "figures.json"
    words = ["joint", "--ways", ways, "--scale", "smoke", "--trials", "5", "--slots", str(slots)]
    assert engine.main([*words, "--root", str(root), "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    assert not record["problems"] and record["shortened"] and ",".join(record["ways"]) == ways
    return record["ways"]


def test_a_seam_at_a_border_of_tiles_is_seen_and_a_fields_edge_is_none() -> None:
    fields = np.random.default_rng(0).normal(size=(3, 128, 128)).cumsum(1).cumsum(2)
    image = restoring.mosaic(fields, 1024)
    assert image.shape == (1024, 1024) and np.allclose(image[:20, :20], fields[0, 102:122, 102:122])
    assert restoring.step_at_borders(image, 512) == pytest.approx(1, abs=0.2)
    image[512:] += 0.5 * np.ptp(image)
    assert restoring.step_at_borders(image, 512) > 3
