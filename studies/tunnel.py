"""A port of a cluster's head on this machine, through SSH."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

OPENS_IN_S = 60.0


@contextmanager
def tunnel(file: Path, port: int) -> Iterator[int]:
    """The port of this machine that leads to `port` of the head's loopback, for as long as it is needed.

    file: that the cluster was started with. ValueError where the head does not let us in.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        here = int(probe.getsockname()[1])
    words = ["ray", "dashboard", "-p", str(here), "--remote-port", str(port), "--no-config-cache", str(file)]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True, env=dict(os.environ)
        )
        try:
            deadline_s = time.monotonic() + OPENS_IN_S
            while not _is_open(here):
                if process.poll() is not None or time.monotonic() > deadline_s:
                    said.seek(0)
                    last = (said.read().decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
                    raise ValueError(f"The head of {file} must be reached by SSH, but {' '.join(words[:2])}: {last}")
                time.sleep(0.3)
            yield here
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _is_open(port: int) -> bool:
    """Whether a process of ours listens there: what is sent holds the token, which is nobody else's."""
    for one in psutil.net_connections("tcp"):
        if one.status == psutil.CONN_LISTEN and one.laddr.port == port:
            return one.pid is not None and psutil.Process(one.pid).uids().real == os.getuid()
    return False
