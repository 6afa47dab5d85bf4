"""`submit`: `run` on a cluster, as a job on its head that goes on when this machine does not."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from studies import asking
from studies.cluster import CODE, UNSHIPPED
from studies.cluster_file import check
from studies.tunnel import tunnel

DASHBOARD = 8265
GONE_AFTER_S = 60.0  # without an answer
LOOK_EVERY_S = 2.0
OPEN = ("PENDING", "RUNNING")


def add_submit(parser: argparse.ArgumentParser) -> None:
    """Options of `submit`: those of `run`, which the head is given, and where."""
    asking.add_names(parser)
    asking.add_investigation(parser)
    parser.add_argument("--retry-failed", action="store_true", help="try again what failed before")
    parser.add_argument("--cluster", type=Path, required=True, metavar="FILE", help="YAML that `ray up` was given")
    parser.add_argument("--detach", action="store_true", help="do not follow; the same command without it does")


def submit(arguments: argparse.Namespace) -> int:
    """Begin the run on the cluster, or find the one of its experiment, and follow it to its end."""
    file = arguments.cluster.expanduser()
    if check(file)["provider"]["type"] == "local":
        os.environ.setdefault("RAY_UP_enable_autoscaler_v2", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    experiment = arguments.experiment or f"{arguments.dataset.stem}-{arguments.scale}"
    entrypoint = shlex.join(["python", "-m", "studies", "run", *_passed_on(sys.argv[2:])])
    with tunnel(file, DASHBOARD) as port:
        from ray.job_submission import JobSubmissionClient

        try:
            client = JobSubmissionClient(f"http://127.0.0.1:{port}")
            name, is_new = begun(client, experiment, entrypoint)
        except RuntimeError as error:
            raise ValueError(f"The cluster must take jobs, but says: {' '.join(str(error).split())[:300]}") from error
        print(f"{'begun' if is_new else 'found'}   job {name}: {entrypoint}", flush=True)
        print("It goes on without this command, which may be stopped by Ctrl-C; given again, it follows.", flush=True)
        return 0 if arguments.detach else follow(client, name)


def _passed_on(words: list[str]) -> list[str]:
    """What `run` is given of the words that `submit` was given."""
    kept, skips = [], False
    for word in words:
        if skips or word == "--detach" or word.startswith("--cluster="):
            skips = False
        elif word == "--cluster":
            skips = True
        else:
            kept.append(word)
    return kept


def begun(client: Any, experiment: str, entrypoint: str) -> tuple[str, bool]:
    """The name of an experiment's job, and whether it was begun now: while one goes on there is no second.

    ValueError where one goes on that was asked for something else.
    """
    pattern = re.compile(re.escape(experiment) + r"-(\d+)")
    jobs = {job.submission_id: job for job in client.list_jobs() if pattern.fullmatch(job.submission_id or "")}
    for name, job in jobs.items():
        if job.status.value in OPEN:
            if job.entrypoint != entrypoint:
                raise ValueError(
                    f"One job of the experiment {experiment} may go on at a time, but {name} does: `{job.entrypoint}`; "
                    "give that command, or wait."
                )
            return name, False
    number = max((int(pattern.fullmatch(name)[1]) for name in jobs), default=0) + 1  # type: ignore[index]
    shipped = {"working_dir": str(CODE), "excludes": UNSHIPPED}
    name = client.submit_job(entrypoint=entrypoint, submission_id=f"{experiment}-{number}", runtime_env=shipped)
    return str(name), True


def follow(client: Any, name: str) -> int:
    """Print what the job says until it ends; its exit code, as far as Ray tells it: 0, or 1.

    RuntimeError where the head has not answered for GONE_AFTER_S.
    """
    told, answered_s = 0, time.monotonic()
    while True:
        try:
            job = client.get_job_info(name)
            log = client.get_job_logs(name)
            answered_s = time.monotonic()
        except (RuntimeError, OSError) as error:
            if time.monotonic() - answered_s > GONE_AFTER_S:
                print(
                    f"The head has not answered for {GONE_AFTER_S:g} s ({type(error).__name__}); what was finished is "
                    "in the storage: the same command goes on, on this cluster or a new one.",
                    file=sys.stderr,
                )
                return 1
        else:
            sys.stdout.write(log[told:])
            sys.stdout.flush()
            told = len(log)
            if job.status.value not in OPEN:
                if job.status.value != "SUCCEEDED":
                    print(f"{name} has {job.status.value.lower()}: {job.message}", file=sys.stderr)
                return 0 if job.status.value == "SUCCEEDED" else 1
        time.sleep(LOOK_EVERY_S)
