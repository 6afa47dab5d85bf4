"""A job on a cluster's head, followed to its end from a machine that may lose the way to it."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from studies.tunnel import tunnel

DASHBOARD = 8265  # the head's port
GONE_AFTER_S = 60.0  # without an answer
LOOK_EVERY_S = 3.0
ANSWERS_WITHIN_S = 30.0
OPEN = ("PENDING", "RUNNING")
UNREACHED = 3  # exit code: nothing is known of how it ended


def client_at(port: int) -> Any:
    """Ray's client for the jobs of the head behind a port of this machine; RuntimeError or OSError without one."""
    from ray.job_submission import JobSubmissionClient

    logging.getLogger("ray.dashboard.modules.dashboard_sdk").setLevel(logging.WARNING)  # says what is shipped already

    class Client(JobSubmissionClient):
        def _do_request(self, *words: Any, **more: Any) -> Any:  # which waits for ever
            return super()._do_request(*words, **{"timeout": ANSWERS_WITHIN_S, **more})

    return Client(f"http://127.0.0.1:{port}")


def follow(
    file: Path,
    name: str,
    opened: Callable[[Path, int], AbstractContextManager[int]] = tunnel,
    client: Callable[[int], Any] = client_at,
) -> int:
    """Print what a job says until it ends: 0, 1 where it failed, UNREACHED where the head is silent for too long.

    file: of the cluster. A connection that is lost is made again.
    """
    told, answered_s, lost = 0, time.monotonic(), ""
    while time.monotonic() - answered_s < GONE_AFTER_S:
        try:
            with opened(file, DASHBOARD) as port:
                jobs = client(port)
                while True:
                    job, log = jobs.get_job_info(name), jobs.get_job_logs(name)
                    answered_s = time.monotonic()
                    sys.stdout.write(log[told:])
                    sys.stdout.flush()
                    told = len(log)
                    if job.status.value not in OPEN:
                        return _ended(name, job)
                    time.sleep(LOOK_EVERY_S)
        except (RuntimeError, OSError, ValueError) as error:
            lost = " ".join(str(error).split())[-200:]
            time.sleep(LOOK_EVERY_S)
    print(
        f"The head must answer, but has not for {GONE_AFTER_S:g} s ({lost}); what was finished is in the storage: the "
        "same command goes on, on this cluster or a new one.",
        file=sys.stderr,
    )
    return UNREACHED


def _ended(name: str, job: Any) -> int:
    if job.status.value == "SUCCEEDED":
        return 0
    print(f"{name} has {job.status.value.lower()}: {job.message}", file=sys.stderr)
    return 1
