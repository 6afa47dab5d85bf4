"""What executions cost: read from past ones, timed where there are none, and laid onto slots."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_series

from dehazing.pipeline.execute import execute
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store
from studies.planning.forecast import batches, makespan
from studies.planning.past import History, signature
from studies.planning.rehearsal import rehearsal
from studies.scratch import link

UNET = Execution("unet", {"base": 4, "depth": 2}, "here", 0)


def publish(store: Store, execution: Execution, seconds: float, device: str = "cpu", num_threads: int = 2) -> None:
    record = {"final": {}, "history": [], "seconds": seconds, "device": device, "num_threads": num_threads}
    files = {"config.json": execution.record(), "metrics.json": record}
    contents: dict[str, Any] = {name: json.dumps(content).encode() for name, content in files.items()}
    store.publish(execution.address, {**contents, "weights.safetensors": bytes(100)})


def with_settings(seed: int = 0, dataset: str = "here", **settings: Any) -> Execution:
    return Execution("unet", {**UNET.config, **settings}, dataset, seed)


def test_the_median_of_past_executions_that_differ_in_what_is_searched_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed, seconds in enumerate([2.0, 3.0, 40.0]):
        publish(store, with_settings(seed, lr=1e-3 * (seed + 1)), seconds)
    publish(store, with_settings(base=8), 100.0)
    publish(store, with_settings(seed=9), 1000.0, device="cuda")
    for seed in range(20, 30):
        publish(store, with_settings(seed), 0.1, num_threads=8)
    cost = History(store).cost(with_settings(lr=7e-3), {"lr"}, "cpu", 2)
    assert cost is not None and cost.seconds == 3.0 and cost.source == "3 past executions"
    assert cost.published_bytes is not None and cost.published_bytes > 100 and cost.checkpoint_bytes == 800
    assert History(store).cost(with_settings(lr=7e-3), (), "cpu", 2) is None, "lr is not searched, so it must agree"
    on_gpu = History(store).cost(UNET, (), "cuda", 2)
    assert on_gpu is not None and on_gpu.seconds == 1000.0 and on_gpu.source == "1 past execution"
    assert History(Store(tmp_path / "empty")).cost(UNET, (), "cpu", 2) is None


def test_a_series_of_the_same_size_serves_better_than_any_other(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name, size in {"here": 1000, "alike": 1050, "large": 9000}.items():
        store.publish(f"series/{name}", {"series.safetensors": bytes(size)})
    publish(store, with_settings(dataset="large"), 90.0)
    cost = History(store).cost(UNET, (), "cpu", 2)
    assert cost is not None and cost.seconds == 90.0 and cost.source == "1 past execution on another series"
    publish(store, with_settings(dataset="alike"), 9.0)
    cost = History(store).cost(UNET, (), "cpu", 2)
    assert cost is not None and cost.seconds == 9.0 and "of the same size" in cost.source


def test_loops_cost_what_the_number_of_their_configurations_says() -> None:
    def of(*variants: str) -> str:
        return signature("iterative", {"configurations": [{"variant": variant} for variant in variants]})

    assert of("direct") == of("combine_z") != of("direct", "combine_z")


@pytest.mark.parametrize(
    ("jobs", "slots", "seconds"),
    [
        ([], 2, 0.0),
        ([("a", 2.0, ()), ("b", 2.0, ()), ("c", 2.0, ())], 2, 4.0),
        ([("a", 2.0, ()), ("b", 2.0, ()), ("c", 2.0, ())], 1, 6.0),
        ([("a", 2.0, ()), ("b", 3.0, ("a",)), ("c", 1.0, ())], 2, 5.0),
        ([("a", 2.0, ("in the store",)), ("b", 0.0, ("a",))], 8, 2.0),
        ([("a", 1.0, ()), ("b", 4.0, ()), ("c", 1.0, ("b",)), ("d", 5.0, ("a",))], 2, 6.0),
    ],
)
def test_the_time_on_slots(jobs: Sequence[tuple[str, float, Collection[str]]], slots: int, seconds: float) -> None:
    assert makespan(jobs, slots) == seconds


def test_many_jobs_are_laid_onto_slots_in_a_moment() -> None:
    jobs = [(str(number), 1.0, [str(number - 1)] if number % 2 else []) for number in range(20_000)]
    started = time.process_time()
    assert makespan(jobs, 4) == 5000.0
    assert time.process_time() - started < 3.0


def loop(steepness: float, degrader: str = "", variant: str = "direct") -> Execution:
    configurations = [{"variant": variant, "alpha": {"kind": "sigmoid", "steepness": steepness}}]
    upstreams = {role: f"{role}/0123456789abcdef" for role in ("unet", "nafnet", "hdn", "hvae", "restorer")}
    with_degrader = {"degrader": degrader} if degrader else {}
    return Execution("iterative", {"configurations": configurations}, "here", 0, {**upstreams, **with_degrader})


def test_batches_hold_what_can_be_executed_together() -> None:
    a, b = "degrader/a123456789abcdef", "degrader/b123456789abcdef"
    same = [loop(number, a) for number in range(1, 6)]
    other, none = loop(9, b), loop(10, variant="stop")
    assert batches([same[0], other, *same[1:], none], 3) == [same[:3], [other, none], same[3:]]
    assert batches([UNET, with_settings(base=8)], 3) == [[UNET], [with_settings(base=8)]]


LONG = {"num_epochs": 4, "steps_per_epoch": 15, "batch_size": 2, "patch_px": 32}
HVAE = Execution("hvae", {**LONG, "width": 8, "latent_channels": [2, 2, 2]}, tiny_series.NAME, 3)
RESTORER = Execution("restorer", {**LONG, "width": 8}, tiny_series.NAME, 3, {"hvae": HVAE.address})


@pytest.mark.slow
def test_a_timed_epoch_tells_the_order_of_the_whole(tmp_path: Path) -> None:
    store = tiny_series.publish(tmp_path / "results")
    before = sorted(tmp_path.rglob("*"))
    said: list[str] = []
    with rehearsal(store, {HVAE.address: HVAE}, lambda kind: "cpu", 1, said.append) as resting:
        resting.series = tiny_series.NAME
        link(resting.scratch, store, f"series/{tiny_series.NAME}")
        cost = resting.cost(RESTORER)
        broken = resting.cost(replace(RESTORER, config={**RESTORER.config, "lr": 1e30}))
    assert sorted(tmp_path.rglob("*")) == before, "nothing is left"
    assert said == ["timing: restorer", "timing: restorer"]
    assert broken.seconds is None and "its first epoch failed: FloatingPointError" in broken.source
    execute(HVAE, store)
    started = time.monotonic()
    execute(RESTORER, store)
    took = time.monotonic() - started
    assert cost.source == "timed" and cost.seconds is not None and took / 4 < cost.seconds < took * 4
    manifest = store.manifest(RESTORER.address)
    assert manifest is not None and cost.published_bytes is not None and cost.checkpoint_bytes is not None
    published = sum(entry["size"] for entry in manifest["files"].values())
    assert 0.8 < cost.published_bytes / published < 1.2 and cost.checkpoint_bytes > 4 * cost.published_bytes
