"""What the head of a cluster is asked: a short job that runs one of our commands there."""

from __future__ import annotations

import re
import shlex
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from studies import revision
from studies.cluster import CODE, UNSHIPPED
from studies.following import DASHBOARD, OPEN, client_at
from studies.head import last
from studies.tunnel import tunnel

ANSWERS_WITHIN_S = 600.0  # an object store may have to be read first
LOOK_EVERY_S = 0.5
NAME = "studies-ask-"  # of such a job, of which Ray sometimes keeps the name although it was deleted
RAYS_OWN = re.compile(r"^(\S+ \S+\s+(INFO|WARNING) \S+\.py:\d+ -- |Running entrypoint for job )")


def shipped() -> dict[str, Any]:
    """The environment of a job: this checkout, without its results and data."""
    return {
        "working_dir": str(CODE),
        "excludes": UNSHIPPED,
        "env_vars": revision.shipped(CODE),
    }


@contextmanager
def jobs_of(file: Path) -> Iterator[Any]:
    """Ray's client for the jobs of a cluster; ValueError where it does not let us in, or refuses what it is asked.

    file: that the cluster was started with.
    """
    with tunnel(file, DASHBOARD) as port:
        try:
            yield client_at(port)
        except BrokenPipeError:  # of whoever reads what we print
            raise
        except (RuntimeError, OSError) as error:
            raise ValueError(f"The cluster must take jobs, but says: {' '.join(str(error).split())[:300]}") from error


def answer(client: Any, words: Sequence[str]) -> str:
    """What `python -m studies WORDS` says on the head; ValueError with its own sentence where it fails."""
    name = f"{NAME}{uuid.uuid4().hex[:12]}"
    entrypoint = shlex.join(["python", "-m", "studies", *words])
    client.submit_job(entrypoint=entrypoint, submission_id=name, runtime_env=shipped())
    deadline_s = time.monotonic() + ANSWERS_WITHIN_S
    while (status := client.get_job_info(name).status.value) in OPEN:
        if time.monotonic() > deadline_s:
            client.stop_job(name)
            raise ValueError(f"The head must answer `{entrypoint}` within {ANSWERS_WITHIN_S:g} s, but did not.")
        time.sleep(LOOK_EVERY_S)
    said = "".join(line for line in client.get_job_logs(name).splitlines(True) if not RAYS_OWN.match(line))
    if status == "SUCCEEDED":
        client.delete_job(name)
        return said
    message = said if said.strip() else str(client.get_job_info(name).message)
    client.delete_job(name)
    raise ValueError(last(message))
