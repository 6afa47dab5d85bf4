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
from dataclasses import dataclass
from pathlib import Path

import psutil

from studies.head import Head, head_of, last

OPENS_IN_S = 60.0
HERE = "127.0.0.1"


@dataclass(frozen=True)
class Way:
    """A port of this machine, and the process that it leads away by."""

    port: int
    process: subprocess.Popen[bytes]

    def is_open(self) -> bool:
        """Whether the connection still stands."""
        return self.process.poll() is None


@contextmanager
def tunnel(file: Path, port: int) -> Iterator[int]:
    """The port of this machine that leads to `port` of the head's loopback, for as long as it is needed.

    file: that the cluster was started with. ValueError where the head does not let us in.
    """
    with forwarded(head_of(file), HERE, port) as way:
        yield way.port


@contextmanager
def forwarded(head: Head, host: str, port: int, here: int = 0) -> Iterator[Way]:
    """The way to `port` of `host`, which the head reaches; here: the port of this machine, 0 for any that is free.

    ValueError where the head does not let us in.
    """
    here = here or free_port()
    words = [*head.ssh(), "-N", "-T", "-L", f"{HERE}:{here}:{host}:{port}", head.place]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True, env=dict(os.environ)
        )
        try:
            deadline_s = time.monotonic() + OPENS_IN_S
            while not _listens(process, here):
                if process.poll() is not None or time.monotonic() > deadline_s:
                    said.seek(0)
                    text = last(said.read().decode(errors="replace"))
                    raise ValueError(f"The head of {head.file} must be reached by SSH, but {text}")
                time.sleep(0.1)
            yield Way(here, process)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_port(wanted: int = 0) -> int:
    """A port of this machine that nobody listens on: the wanted one, where it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            probe.bind((HERE, wanted))
            return int(probe.getsockname()[1])
    return free_port()


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    """Whether this very process listens there: what is sent holds the token, which is nobody else's."""
    with suppress(psutil.NoSuchProcess):  # it ended, which its exit code says
        found = psutil.Process(process.pid).net_connections("tcp")
        return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in found)
    return False
