"""A disk of a few kilobytes, which fills up as a large one does: a real file system in memory."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[Path]:
    """`folder` on a disk of its own; skips the test where this process may not mount one."""
    if os.name != "posix" or os.getuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder.mkdir(parents=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
    if subprocess.run(words, capture_output=True).returncode != 0:
        pytest.skip("a small disk cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
