"""`submit`: `run` on a cluster, as a job on its head that goes on when this machine does not."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from studies import asking
from studies.cluster import CODE
from studies.following import OPEN, follow
from studies.head import head_of, prepared
from studies.on_head import jobs_of, shipped
from studies.shipping import is_to_be_shipped, ship


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
    ships = check_places(arguments)
    prepared(file)
    experiment = arguments.experiment or f"{arguments.dataset.stem}-{arguments.scale}"
    dataset = ship(arguments, head_of(file)) if ships else None
    entrypoint = shlex.join(["python", "-m", "studies", "run", *passed_on(arguments.words, dataset)])
    with jobs_of(file) as client:
        name, is_new = begun(client, experiment, entrypoint)
    print(f"{'begun' if is_new else 'found'}   job {name}: {entrypoint}", flush=True)
    print("It goes on without this command, which may be stopped by Ctrl-C; given again, it follows.", flush=True)
    return 0 if arguments.detach else follow(file, name)


def check_places(arguments: argparse.Namespace) -> bool:
    """Whether the dataset names files of this machine, so that its series must be put into the storage.

    Else a relative path is one of the checkout, which is shipped; an absolute one is the cluster's. ValueError for what
    the cluster would not find, or what must not be read in a job's log.
    """
    if not arguments.storage.is_absolute():
        raise ValueError(
            "With submit, --storage must be a folder that outlives the machines of the cluster, as an absolute path, "
            f"but is {arguments.storage}."
        )
    ships = is_to_be_shipped(arguments.dataset)
    files = [Path(name) for name in arguments.names if name.endswith((".yaml", ".yml"))]
    for path in files if ships else (arguments.dataset, *files):
        if not path.is_absolute() and not (CODE / path).is_file():
            raise ValueError(f"With submit, {path} must lie in the checkout, or be an absolute path of the cluster's.")
    url = urlsplit(arguments.store or "")
    if "@" in url.netloc or url.query:
        raise ValueError("With submit, --store must go without credentials and options: a job's command can be read.")
    return ships


def passed_on(words: Sequence[str], dataset: PurePosixPath | None = None) -> list[str]:
    """What `run` is given of the words that `submit` was given.

    dataset: stands for the one that was named, and whose settings of the command line it has taken up.
    """
    kept: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        if name in ("--cluster", *(["--dataset"] if dataset else [])):
            if not equals and left:
                left.pop(0)
        elif dataset and name == "--set":
            value = value if equals else left.pop(0)
            if not value.startswith("dataset."):
                kept += [name, value]
        elif word != "--detach":
            kept.append(word)
    return [*kept, "--dataset", str(dataset)] if dataset else kept


def begun(client: Any, experiment: str, entrypoint: str) -> tuple[str, bool]:
    """The name of an experiment's job, and whether it was begun now: while one goes on there is no second.

    ValueError where one goes on that was asked for something else.
    """
    pattern = re.compile(re.escape(experiment) + r"-(\d+)")
    number = 0
    for job in client.list_jobs():
        found = pattern.fullmatch(job.submission_id or "")
        if not found:
            continue
        number = max(number, int(found[1]))
        if job.status.value in OPEN and job.entrypoint == entrypoint:
            return str(job.submission_id), False
        if job.status.value in OPEN:
            raise ValueError(
                f"One job of the experiment {experiment} may go on at a time, but {job.submission_id} does: "
                f"`{job.entrypoint}`; give that command, or wait."
            )
    name = client.submit_job(entrypoint=entrypoint, submission_id=f"{experiment}-{number + 1}", runtime_env=shipped())
    return str(name), True
