"""A folder of this machine, copied to a cluster's head."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from studies.head import Head, last

LOOK_EVERY_S = 0.5


def send(head: Head, folder: Path, there: str, sent: Callable[[int], None]) -> None:
    """Copy what is in a folder into one that the head has; `sent` is told now and then how many bytes were read so far.

    What is there already, whole, is not sent again, and what was cut off is gone on with. ValueError as rsync.
    """
    words = ["rsync", "--recursive", "--times", "--partial", "--compress", "--rsh", head.rsh()]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [*words, f"{folder}/", f"{head.place}:{there}/"], stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        try:
            while process.poll() is None:
                sent(_read(process.pid))
                with suppress(subprocess.TimeoutExpired):
                    process.wait(LOOK_EVERY_S)
        finally:
            process.kill()
            process.wait()
        said.seek(0)
        text = said.read().decode(errors="replace")
    if process.returncode != 0:
        raise ValueError(f"The head of {head.file} must take what is sent, but {last(text)}")


def _read(pid: int) -> int:
    """Bytes that rsync has read so far; 0 where the system does not say."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if hasattr(process, "io_counters"):
            return int(process.io_counters().read_chars)
    return 0
