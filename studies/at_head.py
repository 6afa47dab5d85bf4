"""A script run on a cluster's head, and a folder copied to it, as `ray exec` and `ray rsync-up` do it."""

from __future__ import annotations

import base64
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

RAY = (sys.executable, "-m", "ray.scripts.scripts")  # the command `ray`, wherever PATH leads
SAYS = "::"  # begins the lines of a script that are meant for whoever runs it
LOOK_EVERY_S = 0.5


def run_at_head(file: Path, script: str, words: Sequence[str]) -> list[str]:
    """What a script says there, line by line without SAYS; words: its $1, $2, …

    file: that the cluster was started with. ValueError where the head is not reached, or the script fails.
    """
    whole = f"set -- {shlex.join(words)}\n{script}"
    encoded = base64.b64encode(whole.encode()).decode()  # one line, as Ray repeats it in what it says
    command = f'bash -c "$(echo {encoded} | base64 -d)"'
    said = _ray(["exec", "--no-config-cache", str(file), command], f"The head of {file} must do what it is asked")
    return [line.strip().removeprefix(SAYS) for line in said.splitlines() if line.startswith(SAYS)]


def send_to_head(file: Path, folder: Path, there: str, sent: Callable[[int], None]) -> None:
    """Copy what is in a folder into a folder of the head; `sent` is told now and then how many bytes were read so far.

    What is there already, whole, is not sent again. ValueError as `run_at_head`.
    """
    _ray(["rsync-up", str(file), f"{folder}/", f"{there}/"], f"The head of {file} must take what is sent", sent)


def _ray(words: Sequence[str], must: str, sent: Callable[[int], None] | None = None) -> str:
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([*RAY, *words], stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            while process.poll() is None:
                if sent is not None:
                    sent(_read_by_rsync(process.pid))
                with suppress(subprocess.TimeoutExpired):
                    process.wait(LOOK_EVERY_S)
        finally:
            process.kill()
            process.wait()
        said.seek(0)
        text = said.read().decode(errors="replace")
    if process.returncode != 0:
        raise ValueError(f"{must}, but `ray {words[0]}` ends with: {_reason(text)}")
    return text


def _reason(text: str) -> str:
    """What tools said, without Ray's own lines: its log, and the whole command once more."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    ours = (" -- ", "Error: Command failed", "Shared connection", "Warning: Permanently added", "ssh -", "rsync --rsh")
    told = [line for line in lines if line and not any(part in line for part in ours)]
    if any(line.startswith("Traceback") for line in told):
        return told[-1][-400:]
    return " ".join(told)[-400:] or "nothing"


def _read_by_rsync(pid: int) -> int:
    """Bytes that the rsync below a process has read so far; 0 where the system does not say."""
    with suppress(psutil.Error):
        for child in psutil.Process(pid).children(recursive=True):
            if child.name() == "rsync" and hasattr(child, "io_counters"):
                return int(child.io_counters().read_chars)
    return 0
