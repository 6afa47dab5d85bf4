"""The same study on several hosts as on one machine, and with hosts lost on the way: `ray up`, jobs, `ray down`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import hosts
from tests.cluster.clustered import CHECKOUT, Cluster, Job
from tests.faults import rig

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]
LONGER = {"num_epochs": 60, "steps_per_epoch": 4}  # so that a host can be lost in the middle


@dataclass(frozen=True)
class Bench:
    """A cluster of three hosts, and the shared folder as this machine sees it."""

    cluster: Cluster
    shared: Path

    def run(self, name: str, *words: str) -> tuple[Job, Path]:
        """Begin `run WORDS` as a job of that name, with a results folder of its own."""
        given = (*words, "--scale", "smoke", "--storage", f"/shared/{name}")
        return Job(self.cluster, self.cluster.submit(*given)), self.shared / name

    @property
    def uri(self) -> str:
        """MLflow's database, which the server on the head writes."""
        return f"sqlite:///{self.shared / 'study' / 'mlflow' / 'mlflow.db'}"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    reason = hosts.why_not()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("cluster")
    checkout, shared = folder / "checkout", folder / "shared"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, check=True).stdout
    checkout.mkdir()
    subprocess.run(
        ["rsync", "-a", "--from0", "--files-from=-", f"{CHECKOUT}/", str(checkout)], input=listed, check=True
    )
    bed = hosts.Bed(Path("/run/dehazing-bed"), shared, 3)
    with bed as machines:
        cluster = Cluster(bed, machines, folder, checkout)
        cluster.up()
        yield Bench(cluster, shared)
        cluster.down()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, bench: Bench) -> list[tuple[Any, ...]]:
    """The table of the study of two stages, run on this machine alone."""
    study = json.loads(json.dumps(rig.PAIR))
    study["config"] |= LONGER
    study["joint"]["hvae"]["config"] |= LONGER
    path = rig.write_study(bench.shared, "pair", study)
    root = tmp_path_factory.mktemp("alone") / "results"
    code, said = rig.finish(rig.start(root, str(path)))
    assert code == 0, said
    return rig.table(root)


def published(root: Path) -> dict[str, Any]:
    """Address → the numbers of every epoch and of the end."""
    files = sorted((root / "stages").glob("*/*/metrics.json"))
    return {f"{f.parts[-3]}/{f.parts[-2]}": rig.without_seconds(json.loads(f.read_text())) for f in files}


def check(root: Path, bench: Bench, pair: list[tuple[Any, ...]]) -> None:
    """As on one machine, and nothing lost, doubled or left running."""
    assert rig.table(root) == pair
    rig.check_ledgers(root, bench.uri)


def test_the_whole_investigation_gives_what_one_machine_gives(bench: Bench, tmp_path: Path) -> None:
    job, root = bench.run("whole", "all")
    words = [sys.executable, "-m", "studies", "run", "all", "--scale", "smoke", "--storage", str(tmp_path / "alone")]
    environment = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
    assert job.end(900) == "SUCCEEDED", job.log()[-3000:]
    subprocess.run(words, cwd=CHECKOUT, env=environment, check=True, capture_output=True, timeout=900)
    assert published(root) == published(tmp_path / "alone")
    assert rig.table(root) == rig.table(tmp_path / "alone")
    rig.check_ledgers(root, bench.uri)
    pages = [(one / rig.EXPERIMENT / "report" / "gap.csv").read_text() for one in (root, tmp_path / "alone")]
    assert pages[0] == pages[1] and (root / rig.EXPERIMENT / "report" / "index.html").stat().st_size > 100_000


def in_the_middle(bench: Bench, name: str) -> tuple[Job, Path]:
    """A run of the pair of which some trials have ended, and others go on."""
    job, root = bench.run(name, "/shared/pair.yaml")
    deadline_s = time.monotonic() + 300
    while len(list((root / "stages").glob("*/*/manifest.json"))) < 3:  # the series, and two more
        assert time.monotonic() < deadline_s and job.status() in ("PENDING", "RUNNING"), job.log()
        time.sleep(0.5)
    return job, root


def test_a_worker_that_loses_power_costs_its_time_alone(bench: Bench, pair: list[tuple[Any, ...]]) -> None:
    job, root = in_the_middle(bench, "power")
    worker = bench.cluster.workers[1]
    worker.cut_power()
    assert job.end(600) == "SUCCEEDED", job.log()[-3000:]
    check(root, bench, pair)
    worker.boot()
    bench.cluster.again()


@pytest.mark.parametrize("seconds", [20, 120])
def test_a_worker_that_is_unplugged_for_a_while(bench: Bench, pair: list[tuple[Any, ...]], seconds: int) -> None:
    job, root = in_the_middle(bench, f"unplugged-{seconds}")
    bench.cluster.workers[0].unplug()
    time.sleep(seconds)
    bench.cluster.workers[0].plug()
    assert job.end(600) == "SUCCEEDED", job.log()[-3000:]
    check(root, bench, pair)
    bench.cluster.again()


def test_mlflow_that_is_restarted_misses_nothing(bench: Bench, pair: list[tuple[Any, ...]]) -> None:
    job, root = in_the_middle(bench, "tracking")
    bench.cluster.stop_serving()
    time.sleep(10)
    bench.cluster.serve()
    assert job.end(600) == "SUCCEEDED", job.log()[-3000:]
    check(root, bench, pair)


def test_a_new_cluster_on_the_same_storage_goes_on_where_the_head_was_lost(
    bench: Bench, pair: list[tuple[Any, ...]]
) -> None:
    _, root = in_the_middle(bench, "head")
    before = {path: path.stat().st_mtime_ns for path in (root / "stages").glob("*/*/manifest.json")}
    bench.cluster.head.cut_power()
    bench.cluster.head.boot()
    bench.cluster.again()
    again, _ = bench.run("head", "/shared/pair.yaml")
    assert again.end(600) == "SUCCEEDED", again.log()[-3000:]
    assert {path: path.stat().st_mtime_ns for path in before} == before, "nothing finished was made again"
    check(root, bench, pair)


def test_without_the_token_there_is_no_job_and_no_dashboard(bench: Bench) -> None:
    refused = bench.cluster.outside("ray", "job", "list", environment={"RAY_AUTH_MODE": "disabled"})
    assert refused.returncode != 0 and "authentication is enabled" in refused.stderr
    url = "http://127.0.0.1:18265/api/jobs/"
    answers = {
        header: subprocess.run(
            ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", header, url], capture_output=True, text=True
        ).stdout
        for header in (
            "X-None: none",
            "Authorization: Bearer 0123",
            f"Authorization: Bearer {bench.cluster.token.read_text()}",
        )
    }
    assert list(answers.values()) == ["401", "403", "200"], "none, a wrong one, the right one"


def test_ray_down_leaves_nothing_running(bench: Bench) -> None:
    bench.cluster.down()
    deadline_s = time.monotonic() + 120
    for host in (bench.cluster.head, *bench.cluster.workers):
        while "raylet" in host.ssh("ps ax -o args").stdout:
            assert time.monotonic() < deadline_s, host.ssh("ps ax -o args").stdout
            time.sleep(2)
