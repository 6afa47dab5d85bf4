"""The same study on several hosts as on one machine, and with hosts lost on the way: `ray up`, jobs, `ray down`."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import comfort, hosts
from tests.cluster.clustered import CHECKOUT, Cluster, Job
from tests.cluster.hosts import Host
from tests.faults import rig

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]
LONGER = {"num_epochs": 250, "steps_per_epoch": 4}  # so that a host can be lost in the middle


@dataclass(frozen=True)
class Bench:
    """A cluster of three hosts, and the shared folder as this machine sees it."""

    cluster: Cluster
    shared: Path

    def run(self, name: str, *words: str) -> tuple[Job, Path]:
        """Begin `run WORDS` as a job, with a results folder of that name."""
        return Job(self.cluster, self.cluster.submit(*given(name, *words))), self.shared / name

    @property
    def uri(self) -> str:
        """MLflow's database, which the server on the head writes."""
        return f"sqlite:///{self.shared / 'study' / 'mlflow' / 'mlflow.db'}"


def given(name: str, *words: str) -> tuple[str, ...]:
    """What `submit` is given, for a results folder of that name."""
    return (*words, "--scale", "smoke", "--storage", f"/shared/{name}")


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
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


@pytest.fixture
def bench(standing: Bench) -> Bench:
    """With every host and every node there, whatever the test before has done to them."""
    standing.cluster.mend()
    return standing


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, standing: Bench) -> list[tuple[Any, ...]]:
    """The table of the study of two stages, run on this machine alone."""
    study = json.loads(json.dumps(rig.PAIR))
    study["config"] |= LONGER
    study["joint"]["hvae"]["config"] |= LONGER
    path = rig.write_study(standing.shared, "pair", study)
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
    root = bench.shared / "whole"
    follower = bench.cluster.following(*given("whole", "all"))
    said, _ = follower.communicate(timeout=900)
    assert follower.returncode == 0 and "index.html" in said, said[-3000:]
    words = [sys.executable, "-m", "studies", "run", "all", "--scale", "smoke", "--storage", str(tmp_path / "alone")]
    environment = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
    subprocess.run(words, cwd=CHECKOUT, env=environment, check=True, capture_output=True, timeout=900)
    assert published(root) == published(tmp_path / "alone")
    assert rig.table(root) == rig.table(tmp_path / "alone")
    rig.check_ledgers(root, bench.uri)
    pages = [(one / rig.EXPERIMENT / "report" / "gap.csv").read_text() for one in (root, tmp_path / "alone")]
    assert pages[0] == pages[1] and (root / rig.EXPERIMENT / "report" / "index.html").stat().st_size > 100_000
    comfort.check_status(bench.cluster, said.split("job ")[1].partition(":")[0], "/shared/whole")
    comfort.check_fetch(bench.cluster, "/shared/whole", root, tmp_path / "home")
    comfort.check_pages(bench.cluster)


def in_the_middle(bench: Bench, name: str, on: Host | None = None) -> tuple[Job, Path]:
    """A run of the pair of which some trials have ended, and others go on: one of them on that host."""
    job, root = bench.run(name, "/shared/pair.yaml")
    deadline_s = time.monotonic() + 300
    # the series, and two more
    while len(list((root / "stages").glob("*/*/manifest.json"))) < 3 or (on is not None and not has_trial(on)):
        assert time.monotonic() < deadline_s and job.status() in ("PENDING", "RUNNING"), job.log()
        time.sleep(0.5)
    return job, root


def has_trial(host: Host) -> bool:
    """Whether one of Ray's processes there is training, as their titles say."""
    return re.search(r"^ray::\w+\.train", host.ssh("ps ax -o args").stdout, re.MULTILINE) is not None


def test_a_worker_that_loses_power_costs_its_time_alone(bench: Bench, pair: list[tuple[Any, ...]]) -> None:
    worker = bench.cluster.workers[1]
    job, root = in_the_middle(bench, "power", on=worker)
    worker.cut_power()
    assert job.end(600) == "SUCCEEDED", job.log()[-3000:]
    check(root, bench, pair)


@pytest.mark.parametrize("seconds", [20, 120])
def test_a_worker_that_is_unplugged_for_a_while(bench: Bench, pair: list[tuple[Any, ...]], seconds: int) -> None:
    worker = bench.cluster.workers[0]
    job, root = in_the_middle(bench, f"unplugged-{seconds}", on=worker)
    worker.unplug()
    time.sleep(seconds)
    worker.plug()
    assert job.end(600) == "SUCCEEDED", job.log()[-3000:]
    check(root, bench, pair)


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
    follower = bench.cluster.following(*given("head", "/shared/pair.yaml"))
    time.sleep(15)
    bench.cluster.head.cut_power()
    said, _ = follower.communicate(timeout=300)
    assert follower.returncode == 3 and "The head must answer, but has not for 60 s" in said, said[-3000:]
    bench.cluster.mend()
    again, _ = bench.run("head", "/shared/pair.yaml")
    assert again.end(600) == "SUCCEEDED", again.log()[-3000:]
    assert {path: path.stat().st_mtime_ns for path in before} == before, "nothing finished was made again"
    check(root, bench, pair)


def test_without_the_token_there_is_no_job_and_no_dashboard(bench: Bench) -> None:
    refused = bench.cluster.outside("ray", "job", "list", environment={"RAY_AUTH_MODE": "disabled"})
    assert refused.returncode != 0 and "authentication is enabled" in refused.stderr
    url = "http://127.0.0.1:18265/api/jobs/"
    headers = ("X-None: none", "Authorization: Bearer 0123", f"Authorization: Bearer {bench.cluster.token.read_text()}")
    assert [answered(url, header) for header in headers] == ["401", "403", "200"], "none, a wrong one, the right one"


def answered(url: str, header: str) -> str:
    words = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", header, url]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


JOIN = "import ray; ray.init(address={address!r}, logging_level='fatal'); print('in', ray.get(ray.put(3)))"


@pytest.mark.parametrize("address", ["{head}:6379", "ray://{head}:10001"])
@pytest.mark.parametrize(
    ("environment", "comes_in"),
    [
        ("RAY_AUTH_MODE=disabled", False),
        ("RAY_AUTH_MODE=token RAY_AUTH_TOKEN=0123", False),
        ("RAY_AUTH_MODE=token", True),  # the node's own
    ],
)
def test_without_the_token_a_client_is_refused(bench: Bench, address: str, environment: str, comes_in: bool) -> None:
    """Even on a machine of the cluster, where every port can be reached."""
    code = JOIN.format(address=address.format(head=bench.cluster.head.address))
    said = bench.cluster.workers[0].ssh(
        f'. ~/.bashrc; {environment} timeout 60 python -c "{code}" 2>&1', check=False, timeout_s=90
    )
    assert ("in 3" in said.stdout) == comes_in, said.stdout[-2000:]
    if not comes_in:  # Ray's client only says that the head does not answer; with the token it does
        assert any(word in said.stdout.lower() for word in ("auth", "token", "connectionerror")), said.stdout[-2000:]


def test_from_outside_nothing_but_ssh_answers(bench: Bench) -> None:
    for host in (bench.cluster.head, *bench.cluster.workers):
        assert asyncio.run(open_ports(host.address)) == [22], host.name
        inside = bench.cluster.workers[0].ssh(f"curl -s -m 5 http://{host.address}:8080/metrics", check=False).stdout
        assert "ray_" in inside, "Ray's metrics are there: it is the firewall that closes them"


async def open_ports(address: str) -> list[int]:
    """Every TCP port that lets itself be connected to from this machine."""
    at_once = asyncio.Semaphore(500)

    async def tried(port: int) -> int:
        async with at_once:
            try:
                _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), 3)
            except OSError:
                return 0
            writer.close()
            return port

    return sorted(filter(None, await asyncio.gather(*(tried(port) for port in range(1, 2**16)))))


def test_mlflow_answers_no_foreign_host(bench: Bench) -> None:
    head, url = (
        bench.cluster.head,
        f"http://{bench.cluster.head.address}:5000/api/2.0/mlflow/experiments/get?experiment_id=0",
    )
    codes = [
        head.ssh(f"curl -s -o /dev/null -w '%{{http_code}}' -H 'Host: {name}' '{url}'").stdout
        for name in ("mlflow.example.org", f"{head.address}:5000", "127.0.0.1:5000")
    ]
    assert codes == ["403", "200", "200"]


def test_the_token_is_in_no_log_and_no_record(bench: Bench) -> None:
    token = bench.cluster.token.read_text()
    found = subprocess.run(["grep", "-rlF", token, str(bench.shared)], capture_output=True, text=True, check=False)
    assert found.stdout == "", "the storage: results, MLflow's database and artifacts"
    for host in (bench.cluster.head, *bench.cluster.workers):
        assert host.ssh(f"grep -rlF {token} /tmp/ray", check=False).stdout == "", f"{host.name}: logs, shipped code"


def test_ray_down_leaves_nothing_running(bench: Bench) -> None:
    bench.cluster.down()
    deadline_s = time.monotonic() + 120
    for host in (bench.cluster.head, *bench.cluster.workers):
        while "raylet" in host.ssh("ps ax -o args").stdout:
            assert time.monotonic() < deadline_s, host.ssh("ps ax -o args").stdout
            time.sleep(2)
