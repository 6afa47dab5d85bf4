"""A full disk of one node: its trials move, the reason is shown, and it is left alone for a while."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.failure import comes_again, ending_of, full_here
from dehazing.pipeline.object_store import ObjectStore
from dehazing.pipeline.store import Store, Unwritable
from dehazing.pipeline.writing import Full
from studies import full_disks
from studies.full_disks import FullDisks, placed
from tests import tiny_series
from tests.faults import rig
from tests.searching import UNET, executions, finish, made, trials
from tests.small_disk import small_disk
from trainables.trial import Trial

STUDY = {
    "question": "Where is room?",
    "kind": "unet",
    "objective": {"metric": "val/psnr", "mode": "max"},
    "sampler": "random",
    "num_trials": 5,
    "config": {**rig.TINY, "base": 4},
    "space": {"share_at_T": 0.0},
    "scales": {"smoke": {}},
}
EXECUTION = Execution("unet", {**rig.TINY, "base": 4}, tiny_series.NAME, 1)


def work(store: Store) -> dict[str, Any]:
    fields = {name: getattr(EXECUTION, name) for name in ("kind", "config", "dataset", "seed", "upstreams")}
    return {"store": store.place, "executions": {EXECUTION.address: fields}, "device": "cpu"}


def objects_with_series(tmp_path: Path) -> str:
    """The URL of an object store that has the tiny series."""
    source, place = tiny_series.publish(tmp_path / "source"), (tmp_path / "objects").as_uri()
    folder = source.folder(f"series/{tiny_series.NAME}")
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}
    ObjectStore(place, tmp_path / "publisher", settle_s=0.0).publish(f"series/{tiny_series.NAME}", files)
    return place


def test_only_what_is_full_here_alone_is_said_to_be() -> None:
    bare = OSError(errno.ENOSPC, "No space left on device", "/tmp/scratch")
    written = Full("full")
    written.__cause__ = bare
    assert "but is full: /tmp/scratch." in full_here(bare, "/shared/results")
    assert full_here(written, "s3://bucket/folder") and not full_here(written, "/shared/results")
    assert not full_here(OSError(errno.EIO, "broken"), "s3://bucket/folder")
    assert not full_here(Unwritable("no route to the store"), "s3://bucket/folder")
    assert ending_of(written, "/shared/results") == {"stop": "full"}, "what all share stops all"
    assert not comes_again(bare) and not comes_again(written)


def test_work_that_meets_a_full_disk_says_so_and_is_done_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = objects_with_series(tmp_path)
    with small_disk(tmp_path / "small", 32) as small:
        monkeypatch.setenv("DEHAZING_CACHE", str(small))
        trial = Trial(work(ObjectStore(place)))
        result = trial.step()
        trial.cleanup()
        assert result["done"] and "must have room, but is full" in result["full"] and result["node"] == ""
        assert ObjectStore(place, tmp_path / "publisher").failure(EXECUTION.address) is None
    monkeypatch.setenv("DEHAZING_CACHE", str(tmp_path / "large"))
    trial.reset_config(work(ObjectStore(place)))
    assert "full" not in trial.step()
    trial.cleanup()


def test_a_shared_folder_that_is_full_stops_everybody(tmp_path: Path) -> None:
    with small_disk(tmp_path / "shared", 2500) as shared:
        store = tiny_series.publish(shared)
        filler = shared / "filler"
        with pytest.raises(OSError, match="No space"), filler.open("wb") as file:
            while True:
                file.write(b"0" * 4096)
                file.flush()
        trial = Trial(work(store))
        for _ in range(5):
            result = trial.step()
            if result.get("done"):
                break
        assert "must be writable" in result["stop"] and "full" not in result


def test_the_search_hands_it_out_again_away_from_that_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [{"NodeID": name, "Alive": True, "Resources": {"CPU": 1.0}} for name in "ab"]
    monkeypatch.setattr(full_disks, "_alive", lambda: nodes)
    search = made(tmp_path, UNET)
    search._disks = FullDisks()
    first = search.suggest("one")
    assert first["away_from"] == []
    search.on_trial_complete("one", {"done": True, "full": "The disk of a is full.", "node": "a"})
    assert search._observer.moves == [((0,), "The disk of a is full.")] and not search.stop
    again = search.suggest("two")
    assert again["away_from"] == ["a"] and executions(again) == executions(first)
    monkeypatch.setattr(full_disks, "FULL_FOR_S", 0.0)
    finish(search, "two", again)
    assert trials(search)[0].state == TrialState.COMPLETE and search.suggest("three")["away_from"] == []


def test_where_every_node_is_full_the_search_ends_and_goes_on_another_time(tmp_path: Path) -> None:
    search = made(tmp_path, UNET)
    search.suggest("one")
    search.on_trial_complete("one", {"done": True, "full": "The disk of a is full.", "node": ""})
    assert search.stop == "The disk of a is full." and trials(search)[0].state == TrialState.RUNNING


def test_a_trial_without_a_full_node_may_be_placed_anywhere() -> None:
    needs = {"resources": {"CPU": 2, "GPU": 0.5}}
    assert placed(needs) == placed({**needs, "away_from": []}) != placed({**needs, "away_from": ["a"]})
    away = placed({**needs, "away_from": ["a", "b"]})
    assert away._kwargs == {"bundle_label_selector": [{"ray.io/node-id": "!in(a,b)"}]}


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a driver on a cluster of two workers, processes of this machine, one with a full disk."""
    from ray.cluster_utils import Cluster

    quiet = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    with (
        small_disk(tmp_path / "small", 32) as small,
        tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as own,  # sockets' paths are short
        pytest.MonkeyPatch.context() as patch,
    ):
        quiet["RAY_TMPDIR"] = own  # where another Ray of this machine notes its address
        for name, value in quiet.items():
            patch.setenv(name, value)
        small_one: dict[str, Any] = {"object_store_memory": 80_000_000}
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small_one})
        try:
            for cache in (small, tmp_path / "large"):
                cluster.add_node(num_cpus=1, env_vars={"DEHAZING_CACHE": str(cache), **quiet}, **small_one)
            yield {**os.environ, "RAY_ADDRESS": cluster.address, "DEHAZING_CACHE": str(tmp_path / "driver")}
        finally:
            cluster.shutdown()


def said_by(environment: dict[str, str], *words: str) -> str:
    """What a driver that ends well says of its progress."""
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=rig.CHECKOUT, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


@pytest.mark.slow
def test_the_trials_of_a_node_with_a_full_disk_move_and_it_gets_no_more(
    root: Path, tmp_path: Path, nodes: dict[str, str]
) -> None:
    path = rig.write_study(tmp_path, "room", STUDY)
    words = [str(path), "--scale", "smoke", "--storage", str(root), "--store", (tmp_path / "objects").as_uri()]
    said = said_by(nodes, "-m", "studies", "run", *words)
    assert said.count("must have room, but is full") == said.count("Going on elsewhere: unet/") == 1, said
    ((_, found),) = rig.trials(root).items()
    assert [trial.state for trial in found] == [TrialState.COMPLETE] * 5


@pytest.mark.slow
def test_the_confirmation_moves_too(tmp_path: Path, nodes: dict[str, str]) -> None:
    place = objects_with_series(tmp_path)
    code = f"""
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import open_store
from studies import cluster
from studies.confirming import confirm
from studies.overhead import Overhead
from studies.progress import Progress
from studies.scale import read_scale
scale = read_scale("smoke", {{}})
slots = cluster.start(scale, False, {place!r})
config = {EXECUTION.config!r}
wanted = {{("unet", seed): Execution("unet", config, {tiny_series.NAME!r}, seed) for seed in range(4)}}
store = open_store({place!r})
assert slots == 2 and confirm(wanted, store, scale, {{"unet": slots}}, {{}}, Progress(), Overhead()) == {{}}
assert all(store.has(execution.address) for execution in wanted.values())
"""
    said = said_by(nodes, "-c", code)
    assert said.count("must have room, but is full") == said.count("Going on elsewhere: unet/") == 1, said
