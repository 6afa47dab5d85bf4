"""The most memory that a process and its GPU held while something was executed."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESETS_THE_PEAK = "5"  # of the resident memory, says Linux' proc(5)


class Peak:
    """Watches from its making on; `device` as torch names it.

    The process's figure is of its resident memory, what it held before included. Where the system cannot start it anew
    (not Linux), it is that of the process's whole life. On a GPU it is what torch reserved: CUDA's own context, some
    hundred MB in each process, is not in it.
    """

    def __init__(self, device: str) -> None:
        # where there is no GPU, the stage says so when it is built
        self._gpu = device if device.startswith("cuda") and torch.cuda.is_available() else None
        self._before: Mapping[str, int] = {}
        with suppress(OSError):  # the figure is then too high, never too low
            RESET.write_text(RESETS_THE_PEAK)
        if self._gpu:
            torch.cuda.reset_peak_memory_stats(self._gpu)

    def go_on(self, before: Mapping[str, int]) -> None:
        """From what a process before this one held, as its `record` said."""
        self._before = before

    def record(self) -> dict[str, int]:
        """Bytes: peak_memory; on a GPU also peak_gpu_memory, and gpu_memory, which is all that it has."""
        found = {"peak_memory": _resident_peak()}
        if self._gpu:
            found["peak_gpu_memory"] = torch.cuda.max_memory_reserved(self._gpu)
        found |= {name: max(found[name], self._before.get(name, 0)) for name in found}
        if self._gpu:
            found["gpu_memory"] = torch.cuda.get_device_properties(self._gpu).total_memory
        return found


def _resident_peak() -> int:
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
