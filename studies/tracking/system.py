"""The machine's figures under MLflow's names, for its page of system metrics."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import psutil

MB = 1e6


class SystemFigures:
    """Figures since the sample before, of this machine and its GPUs."""

    def __init__(self, folder: Path) -> None:
        """folder: its disk is looked at; it need not be there yet."""
        self.folder = next(path for path in (folder, *folder.parents) if path.exists())
        psutil.cpu_percent()  # the first is 0
        self._network = psutil.net_io_counters()
        self._has_gpus = shutil.which("nvidia-smi") is not None

    def sample(self) -> dict[str, float]:
        """Percent, MB and W by name."""
        memory, disk, network = psutil.virtual_memory(), psutil.disk_usage(str(self.folder)), psutil.net_io_counters()
        figures = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / MB,
            "system_memory_usage_percentage": memory.percent,
            "disk_usage_megabytes": disk.used / MB,
            "disk_usage_percentage": disk.percent,
            "disk_available_megabytes": disk.free / MB,
        }
        if network is not None and self._network is not None:
            figures["network_receive_megabytes"] = (network.bytes_recv - self._network.bytes_recv) / MB
            figures["network_transmit_megabytes"] = (network.bytes_sent - self._network.bytes_sent) / MB
        return {f"system/{name}": value for name, value in (figures | self._gpus()).items()}

    def _gpus(self) -> dict[str, float]:
        """Asked of the driver's own tool: torch would put a context of its own on each GPU."""
        if not self._has_gpus:
            return {}
        fields = "index,memory.used,memory.total,utilization.gpu,power.draw"
        words = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
        try:
            said = subprocess.run(words, capture_output=True, timeout=5, check=True).stdout.decode(errors="replace")
        except (OSError, subprocess.SubprocessError):
            self._has_gpus = False  # no driver, or one that hangs: not asked again
            return {}
        return gpu_figures(said)


def gpu_figures(said: str) -> dict[str, float]:
    """Figures by name from lines of index, MiB used, MiB in all, percent and W; what a GPU does not tell is absent.

    A line of anything else, such as of a GPU that is lost, tells nothing.
    """
    figures: dict[str, float] = {}
    for line in said.splitlines():
        index, *values = [word.strip() for word in line.split(",")]
        if len(values) != 4 or not index.isdigit():
            continue
        used, total, busy, power = [float(v) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", v) else None for v in values]
        named = {"memory_usage_megabytes": None if used is None else used * 1.048576}
        named["memory_usage_percentage"] = None if used is None or not total else 100 * used / total
        named |= {"utilization_percentage": busy, "power_usage_watts": power}
        figures |= {f"gpu_{index}_{name}": value for name, value in named.items() if value is not None}
    return figures
