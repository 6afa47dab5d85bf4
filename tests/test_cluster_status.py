"""What `status --cluster` says: nodes as Ray counts them, jobs, and which `status` the head is asked for."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.autoscaler._private.autoscaler import AutoscalerSummary
from ray.autoscaler._private.load_metrics import LoadMetricsSummary
from ray.autoscaler._private.util import format_info_string
from ray.autoscaler.v2.schema import ClusterStatus, ResourceUsage
from ray.autoscaler.v2.utils import ClusterStatusFormatter

from studies.cluster_status import asked_by, cluster_status, described, nodes, tell


def job(name: str, status: str, entrypoint: str = "python -m studies run all", begun_s: float = 0.0) -> Any:
    return SimpleNamespace(
        submission_id=name,
        status=SimpleNamespace(value=status),
        entrypoint=entrypoint,
        start_time=int(begun_s * 1000),
        end_time=None if status == "RUNNING" else int((begun_s + 300) * 1000),
        message="",
    )


def rays_text(**more: Any) -> str:
    """As the dashboard gives it where Ray's older autoscaler runs."""
    load = LoadMetricsSummary(
        usage={"CPU": (2.0, 4.0), "GPU": (0.5, 2.0), "memory": (0.0, 2.0**30)}, resource_demand=[], pg_demand=[],
        request_demand=[], node_types=[], usage_by_node={},
    )  # fmt: skip
    fields = {"idle_nodes": None, "pending_nodes": [], "pending_launches": {}, "failed_nodes": [], "legacy": True}
    summary = AutoscalerSummary(**{"active_nodes": {"head": 1, "gpu_spot": 2}, **fields, **more})
    return str(format_info_string(load, summary))


def test_nodes_and_slots_are_those_that_ray_counts() -> None:
    assert nodes(rays_text()) == [
        "nodes      3 alive (1 head, 2 gpu_spot), asked for: none",
        "in use     2.0/4.0 CPU, 0.5/2.0 GPU",
    ]


def test_what_is_asked_for_and_what_was_lost_is_said() -> None:
    said = nodes(rays_text(pending_launches={"gpu_spot": 2}, failed_nodes=[("10.0.0.7", "gpu_on_demand")]))
    assert said[0].endswith("asked for: gpu_spot, 2 launching")
    assert said[1] == "lost       gpu_on_demand: NodeTerminated (ip: 10.0.0.7)"


def test_the_newer_autoscaler_s_text_is_read_too_and_one_that_says_nothing_yet() -> None:
    status = ClusterStatus(cluster_resource_usage=[ResourceUsage("CPU", 4.0, 1.0)])
    assert nodes(ClusterStatusFormatter.format(status)) == [
        "nodes      0 alive, asked for: none",
        "in use     1.0/4.0 CPU",
    ]
    assert nodes("No cluster status. It may take a few seconds") == ["nodes      Ray has not counted them yet"]


def test_a_job_says_how_long() -> None:
    assert described(job("lines-smoke-2", "RUNNING", begun_s=100), 7300.0).startswith(
        "lines-smoke-2 running for 2.0 h:"
    )
    assert described(job("lines-smoke-1", "FAILED", begun_s=100), 7300.0).startswith(
        "lines-smoke-1 failed after 5 min:"
    )


def test_the_head_is_asked_for_what_its_jobs_run() -> None:
    run = "python -m studies run hvae --scale smoke --retry-failed --storage '/shared/my results'"
    jobs = [job("a-1", "RUNNING", run), job("a-2", "RUNNING", run), job("b", "RUNNING", "python other.py")]
    assert asked_by(jobs) == [["hvae", "--scale", "smoke", "--storage", "/shared/my results"]]


class Jobs:
    """As Ray's client: of the jobs that it is given, and of those that it is asked to run, which say one line."""

    def __init__(self, *jobs: Any):
        self.jobs, self.entrypoints = list(jobs), list[str]()

    def _do_request(self, method: str, path: str) -> Any:
        assert (method, path) == ("GET", "/api/cluster_status?format=1")
        return SimpleNamespace(json=lambda: {"data": {"clusterStatus": rays_text()}})

    def list_jobs(self) -> list[Any]:
        return self.jobs

    def submit_job(self, **given: Any) -> str:
        self.entrypoints.append(given["entrypoint"])
        return str(given["submission_id"])

    def get_job_info(self, name: str) -> Any:
        return job(name, "SUCCEEDED")

    def get_job_logs(self, name: str) -> str:
        asked = "2026-11-23 22:00:00,000\tINFO job_manager.py:581 -- Runtime env is setting up.\nexperiment so and so\n"
        return asked if name.startswith("studies-ask-") else "".join(f"line {k} of {name}\n" for k in range(9))

    def delete_job(self, name: str) -> None:
        pass


def test_the_last_lines_of_what_goes_on_are_shown_and_what_the_head_says(capsys: pytest.CaptureFixture[str]) -> None:
    asked = job("studies-ask-1", "RUNNING")
    client = Jobs(job("b-1", "RUNNING", begun_s=2), job("a-1", "FAILED", begun_s=1), asked)
    tell(client, "mine", [])
    said = capsys.readouterr().out
    assert said.index("a-1 failed") < said.index("b-1 running") and "studies-ask" not in said
    assert "| line 8 of b-1" in said and "line 3 of b-1" not in said and "of a-1" not in said
    assert said.endswith("\nexperiment so and so\n") and "setting up" not in said
    assert client.entrypoints == ["python -m studies status all"]


def test_an_idle_cluster_shows_its_newest_job_and_an_empty_one_none(capsys: pytest.CaptureFixture[str]) -> None:
    tell(Jobs(job("b-1", "FAILED", begun_s=2), job("a-1", "FAILED", begun_s=1)), "mine", ["hvae", "--storage", "/x"])
    assert "| line 8 of b-1" in (said := capsys.readouterr().out) and "of a-1" not in said
    tell(Jobs(), "mine", [])
    assert "jobs       none" in capsys.readouterr().out


def test_a_folder_of_this_machine_is_refused() -> None:
    given = argparse.Namespace(cluster=Path("c.yaml"), words=["--cluster", "c.yaml", "hvae"], storage=Path("results"))
    with pytest.raises(ValueError, match="--storage must be the folder that submit was given, an absolute path"):
        cluster_status(given)
