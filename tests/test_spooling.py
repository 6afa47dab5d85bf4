"""What is asked reaches the disk, whatever the machine says of itself and whatever goes wrong in between."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from studies.tracking import spooling
from studies.tracking.spool import Record, Spool, records_of
from studies.tracking.spooling import SpoolWriter


def writing_to(spool: Spool) -> SpoolWriter:
    """A writer with one open run that wants the machine's figures."""
    writer = SpoolWriter(spool, {}, {"name": "lines", "digest": "abc", "source": "lines.yaml"})
    start: Record = {"op": "start", "key": "unet", "name": "unet", "parent": None, "tags": {}, "params": {}}
    writer.put({**start, "config": None, "texts": {}, "system": True, "at_ms": 1})
    return writer


def log(step: int) -> Record:
    return {"op": "log", "key": "unet", "metrics": {"val/psnr": 20.0}, "step": step, "at_ms": 2}


def written(spool: Spool) -> list[Record]:
    return [record for path in sorted(spool.folder.glob("spool-*")) for record in records_of(path)]


@pytest.mark.parametrize(
    "said",
    [b"Unable to determine the device handle for GPU0: 0000:01:00.0: Unknown Error", rb"\377\376, 1, 2, 3, 4", b"0, 1"],
)
def test_figures_that_cannot_be_had_end_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_bytes(b"#!/bin/sh\nprintf '" + said + b"\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(spooling, "SAMPLE_S", 0.1)
    spool = Spool(tmp_path / "mlflow")
    writer = writing_to(spool)
    deadline_s = time.monotonic() + 30
    while "system" not in [record["op"] for record in written(spool)] and time.monotonic() < deadline_s:
        time.sleep(0.1)
    for step in range(5):
        writer.put(log(step))
    writer.close(10)
    records = written(spool)
    assert [record["step"] for record in records if record["op"] == "log"] == list(range(5))
    assert [record["status"] for record in records if record["op"] == "end"] == ["KILLED"]
    figures = next(record for record in records if record["op"] == "system")["metrics"]
    assert "system/cpu_utilization_percentage" in figures and not any("gpu" in name for name in figures)
    assert writer.num_lost == writer.num_waiting == 0


def test_a_machine_that_says_something_unforeseen_goes_without_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unforeseen(*_: object) -> None:
        raise RuntimeError("no /proc here")

    monkeypatch.setattr(spooling, "SAMPLE_S", 0.1)
    for name in ("__init__", "sample"):
        monkeypatch.setattr(spooling.SystemFigures, name, unforeseen)
        spool = Spool(tmp_path / name)
        writer = writing_to(spool)
        time.sleep(1.5)
        writer.put(log(0))
        writer.close(10)
        assert [record["op"] for record in written(spool)] == ["start", "log", "end"]
        assert writer.num_lost == writer.num_waiting == 0
        monkeypatch.undo()
        monkeypatch.setattr(spooling, "SAMPLE_S", 0.1)


class Failing(Spool):
    """Fails once, as nothing foresaw."""

    has_failed = False

    def append(self, lines: Sequence[bytes]) -> None:
        if not self.has_failed:
            self.has_failed = True
            raise RuntimeError("unforeseen")
        super().append(lines)


def test_what_something_unforeseen_took_is_counted_and_what_follows_is_written(tmp_path: Path) -> None:
    spool = Failing(tmp_path)
    writer = writing_to(spool)
    deadline_s = time.monotonic() + 30
    while not writer.num_lost and time.monotonic() < deadline_s:
        time.sleep(0.05)
    writer.put(log(0))
    writer.close(10)
    assert [record["op"] for record in written(spool)] == ["log", "end"]
    assert (writer.num_lost, writer.num_waiting, writer.problem) == (1, 0, "RuntimeError: unforeseen")
    writer.put(log(1))
    assert (writer.num_lost, writer.num_waiting) == (2, 0), "after the end"
