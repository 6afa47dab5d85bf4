"""`ui --cluster`: the pages of MLflow and of Ray's dashboard on this machine, for as long as it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import NoReturn

from studies.cluster_safety import TOKEN
from studies.following import DASHBOARD
from studies.head import Head, head_of, prepared
from studies.tunnel import HERE, Way, forwarded, free_port

TRACKING = 5000  # port of cluster/mlflow.sh
ADDRESS = "hostname -I"  # whose first is the one that cluster/mlflow.sh listens on
LOOK_EVERY_S = 1.0
TRY_EVERY_S = 5.0
Opened = Callable[[Head, str, int, int], AbstractContextManager[Way]]


def serve_pages(file: Path) -> int:
    """Print where the pages are and keep them there until Ctrl-C; a way that is lost is made again.

    file: that the cluster was started with. ValueError where its head does not let us in at first.
    """
    token = prepared(file)["file_mounts"][TOKEN]
    ports = {port: free_port(port) for port in (TRACKING, DASHBOARD)}
    try:
        keep(
            lambda: head_of(file),
            ports,
            f"MLflow     http://{HERE}:{ports[TRACKING]}\n"
            f"dashboard  http://{HERE}:{ports[DASHBOARD]}, which asks for the token: it is in {token}\n"
            "Ctrl-C ends it.",
        )
    except KeyboardInterrupt:
        return 0


def keep(reached: Callable[[], Head], ports: Mapping[int, int], text: str, opened: Opened = forwarded) -> NoReturn:
    """Hold the ways to MLflow and to the dashboard; never returns, but for what the first attempt raises.

    ports: of the head → of this machine. text: said when they are open for the first time.
    """
    is_first = True
    while True:
        try:
            with ExitStack() as ways:
                head = reached()
                hosts = {TRACKING: private_address(head), DASHBOARD: HERE}
                found = [ways.enter_context(opened(head, hosts[port], port, here)) for port, here in ports.items()]
                print(text if is_first else "The pages are there again.", flush=True)
                is_first = False
                while all(way.is_open() for way in found):
                    time.sleep(LOOK_EVERY_S)
            print("The way to the head is lost; it is looked for.", file=sys.stderr, flush=True)
        except ValueError:
            if is_first:
                raise
            time.sleep(TRY_EVERY_S)


def private_address(head: Head) -> str:
    """Where MLflow listens on the head; ValueError where it has no address."""
    found = head.says(ADDRESS).split()
    if not found:
        raise ValueError(f"The head of {head.file} must have an address of its own, but `{ADDRESS}` names none.")
    return found[0]
