"""`status --cluster`: the nodes of a cluster, its jobs, and how far the studies are that these run."""

from __future__ import annotations

import argparse
import re
import shlex
import time
from collections.abc import Sequence
from typing import Any

from studies.following import OPEN
from studies.head import prepared
from studies.on_head import NAME, answer, jobs_of
from studies.progress import duration
from studies.submitting import passed_on

LAST_LINES = 5  # of a job's log
RUN = ["python", "-m", "studies", "run"]


def cluster_status(arguments: argparse.Namespace) -> int:
    """Say what a cluster has and does, then what `status` says on its head.

    Of the studies that the command names, with --storage; otherwise of those that its jobs run, or else ran last.
    """
    file = arguments.cluster.expanduser()
    words = [word for word in passed_on(arguments.words) if word != "--verbose"]
    if words and not arguments.storage.is_absolute():
        raise ValueError(
            "With --cluster, --storage must be the folder that submit was given, an absolute path, but is "
            f"{arguments.storage}; without any other option it is that of the job."
        )
    name = prepared(file)["cluster_name"]
    with jobs_of(file) as client:
        tell(client, name, words)
    return 0


def tell(client: Any, name: str, words: Sequence[str]) -> None:
    """Print what Ray's client knows of a cluster, and what `status WORDS` says on its head, or that of its jobs."""
    said = client._do_request("GET", "/api/cluster_status?format=1").json()
    print(f"cluster    {name}")
    for line in nodes(str(said["data"]["clusterStatus"])):
        print(line)
    jobs = jobs_in_order(client)
    if not jobs:
        print("jobs       none")
    shown = [job for job in jobs if job.status.value in OPEN] or jobs[-1:]
    for job in jobs:
        print(f"job        {described(job, time.time())}")
        if job in shown:
            lines = client.get_job_logs(job.submission_id).strip().splitlines()[-LAST_LINES:]
            print("".join(f"           | {line}\n" for line in lines), end="", flush=True)
    for asked in [words] if words else asked_by(shown):
        print(f"\n{answer(client, ['status', *asked])}", end="", flush=True)


def nodes(said: str) -> list[str]:
    """How many nodes live and are asked for, what failed, and what is in use, of what `ray status` says."""
    parts: dict[str, list[str]] = {}
    part = ""
    for line in said.splitlines():
        if line.startswith(" ") and part:
            parts[part].append(line.strip())
        elif line.endswith(":"):
            part = line.removesuffix(":")
            parts[part] = []
    if not parts.get("Active"):
        return ["nodes      Ray has not counted them yet"]
    found = {name: [line for line in lines if not line.startswith("(no ")] for name, lines in parts.items()}
    alive = [*found["Active"], *found.get("Idle", [])]
    count = sum(int(number[0]) for line in alive if (number := re.match(r"\d+", line)))
    asked = found.get("Pending", [])
    of = f" ({', '.join(alive)})" if alive else ""
    result = [f"nodes      {count} alive{of}, asked for: {'; '.join(asked) or 'none'}"]
    result += [f"lost       {line}" for line in found.get("Recent failures", [])]
    slots = [line for line in found.get("Total Usage", []) if re.search(r" (CPU|GPU)\b", line)]
    return [*result, f"in use     {', '.join(slots) or 'nothing that could be'}"]


def jobs_in_order(client: Any) -> list[Any]:
    """Submitted jobs, the newest last; without those that were only asked something."""
    found = [job for job in client.list_jobs() if job.submission_id and not job.submission_id.startswith(NAME)]
    return sorted(found, key=lambda job: job.start_time or 0)


def described(job: Any, now_s: float) -> str:
    """Its name, state and command, and for how long."""
    line = f"{job.submission_id} {job.status.value.lower()}"
    if job.start_time:
        took_s = (job.end_time / 1000 if job.end_time else now_s) - job.start_time / 1000
        line += f" for {duration(took_s)}" if job.status.value in OPEN else f" after {duration(took_s)}"
    return f"{line}: {job.entrypoint}"


def asked_by(jobs: Sequence[Any]) -> list[list[str]]:
    """What `status` is to be given for what these jobs run, each once."""
    result = []
    for job in jobs:
        words = shlex.split(job.entrypoint)
        given = [word for word in words[len(RUN) :] if word != "--retry-failed"]
        if words[: len(RUN)] == RUN and given not in result:
            result.append(given)
    return result
