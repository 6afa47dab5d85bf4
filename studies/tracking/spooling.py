"""The thread that writes what was asked to the spool, and the machine's figures while a run wants them."""

from __future__ import annotations

import numbers
import queue
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from dehazing.pipeline.lease import Owner
from studies.tracking.refusal import sentence
from studies.tracking.spool import SEGMENT, Record, Spool, encoded
from studies.tracking.system import SystemFigures

GATHER_S = 0.05  # records of this time are written together: each write is forced to disk, and takes a thread's turn
SAMPLE_S = 10.0  # between two looks at the machine
TOUCH_S = 60.0  # between two signs of life
MOST_IN_MEMORY = 200_000  # records, where even the spool cannot be written


class SpoolWriter:
    """Appends records to a spool, in the order in which they are put; `put` takes microseconds and never raises.

    `num_lost` counts what could not be written at all, `problem` is the first reason. Nothing ends its thread before
    it is closed.
    """

    def __init__(self, spool: Spool, tags: Mapping[str, str], data: Mapping[str, str]) -> None:
        """tags: of every run. data: name, digest and source of every run's dataset."""
        self.num_put = self.num_written = self.num_lost = 0
        self.problem = ""
        self._spool, self._tags, self._data = spool, dict(tags), dict(data)
        self._owner = asdict(Owner.myself())
        self._queue: queue.SimpleQueue[Record | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._open: dict[str, bool] = {}  # key → whether it has the machine's figures, of the runs that are open
        self._thread = threading.Thread(target=self._write, name="mlflow-spool", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """How many records are not on disk yet."""
        return self.num_put - self.num_written - self.num_lost

    def put(self, record: Record) -> None:
        """Have a record written."""
        with self._lock:
            self.num_put += 1
            if not self._closing.is_set():
                self._queue.put(record)
                return
        self._give_up(1, "it was asked for after the end")

    def close(self, timeout_s: float) -> None:
        """End what is open as KILLED, and write what is waiting."""
        with self._lock:
            self._closing.set()
            self._queue.put(None)
        self._thread.join(timeout_s)

    def _write(self) -> None:
        lines = self._appended([], is_last=False)
        figures = self._figures()
        sampled_s = touched_s = time.monotonic()
        is_last = False
        while not is_last:
            records = self._gathered(wait_s=1.0)
            is_last = None in records
            now_s = time.monotonic()
            for record in records:
                lines += self._line(record) if record is not None else []
            if is_last:
                lines += [line for key in list(self._open) for line in self._own("end", key, status="KILLED")]
            elif now_s - sampled_s > SAMPLE_S and any(self._open.values()):
                sampled_s = now_s
                lines += self._sampled(figures)
            if now_s - touched_s > TOUCH_S:
                self._spool.touch()
                touched_s = now_s
            lines = self._appended(lines, is_last)

    def _gathered(self, wait_s: float) -> list[Record | None]:
        """What was asked, after waiting for the first call and a moment for those that follow it."""
        records: list[Record | None] = []
        with suppress(queue.Empty):
            records.append(self._queue.get(timeout=wait_s))
            self._closing.wait(GATHER_S)
            while len(records) < SEGMENT:
                records.append(self._queue.get_nowait())
        return records

    def _figures(self) -> SystemFigures | None:
        try:
            return SystemFigures(self._spool.folder)
        except Exception:  # as below
            return None

    def _sampled(self, figures: SystemFigures | None) -> list[bytes]:
        try:
            sample = {} if figures is None else figures.sample()
        except Exception:  # whatever a machine says instead is no reason to lose the metrics of a study
            sample = {}
        if not sample:
            return []
        wanting = [key for key, wants in self._open.items() if wants]
        return [line for key in wanting for line in self._own("system", key, metrics=sample)]

    def _own(self, op: str, key: str, **more: Any) -> list[bytes]:
        with self._lock:
            self.num_put += 1
        return self._line({"op": op, "key": key, "at_ms": int(time.time() * 1000), **more})

    def _line(self, record: Record) -> list[bytes]:
        """The record as the spool holds it, whole: who delivers it may be another process."""
        try:
            return [encoded(self._completed(record))]
        except Exception as error:  # what was given may raise anything when it is looked at
            self._give_up(1, sentence(error))
            return []

    def _completed(self, record: Record) -> Record:
        if record["op"] == "start":
            tags = {name: str(value) for name, value in {**self._tags, **record["tags"]}.items()}
            params = {name: str(value) for name, value in record["params"].items()}
            self._open[record["key"]] = record.pop("system")
            record |= {"tags": tags, "params": params, "data": self._data, "owner": self._owner}
        elif record["op"] == "end":
            record["owner"] = self._owner
            self._open.pop(record["key"], None)
        elif record["op"] == "log":
            record["metrics"] = {name: float(v) for name, v in record["metrics"].items() if _is_number(v)}
        return record

    def _appended(self, lines: list[bytes], is_last: bool) -> list[bytes]:
        """Appends to the spool; returns what could not be, for the next time."""
        try:
            self._spool.prepare()
            while lines:
                self._spool.append(lines[:SEGMENT])
                self.num_written += len(lines[:SEGMENT])
                lines = lines[SEGMENT:]
        except Exception as error:  # the disk, which may serve later; of anything else the end must tell, too
            is_hopeless = is_last or not isinstance(error, OSError)
            excess = len(lines) if is_hopeless else max(0, len(lines) - MOST_IN_MEMORY)
            if excess:
                self._give_up(excess, sentence(error))
                lines = lines[: len(lines) - excess]
            if not is_last:
                time.sleep(0.5)
        return lines

    def _give_up(self, num: int, reason: str) -> None:
        with self._lock:
            self.num_lost += num
        self.problem = self.problem or reason


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
