"""The machine's figures are there under MLflow's names; a GPU that does not tell one goes without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from studies.tracking.system import SystemFigures, gpu_figures


def test_the_machine_is_looked_at(tmp_path: Path) -> None:
    figures = SystemFigures(tmp_path / "absent").sample()
    assert 0 <= figures["system/cpu_utilization_percentage"] <= 100 * 1.01
    assert figures["system/system_memory_usage_megabytes"] > 0 and figures["system/disk_available_megabytes"] > 0


def test_figures_of_gpus_are_read_from_the_drivers_tool() -> None:
    figures = gpu_figures("0, 1024, 2048, 55, 120.5\n1, 3, 4, [N/A], [Not Supported]\n")
    assert figures["gpu_0_memory_usage_megabytes"] == pytest.approx(1073.74, abs=0.01)
    assert figures["gpu_0_utilization_percentage"] == 55 and figures["gpu_0_power_usage_watts"] == 120.5
    assert {name for name in figures if name.startswith("gpu_1")} == {
        "gpu_1_memory_usage_megabytes",
        "gpu_1_memory_usage_percentage",
    }


def test_a_line_that_holds_no_figures_tells_none() -> None:
    lost = "Unable to determine the device handle for GPU0: 0000:01:00.0: Unknown Error\n"
    assert gpu_figures(lost) == {} and gpu_figures("a, b\n1, 2, 3\n\n") == {}
    assert gpu_figures(lost + "1, 100, 200, ², 4.5.6\n").keys() == {
        "gpu_1_memory_usage_megabytes",
        "gpu_1_memory_usage_percentage",
    }
