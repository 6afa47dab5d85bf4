"""MLflow as an index: calls return at once, reach the disk within moments and MLflow when it answers; none is lost.

A writer thread appends every call to the spool, a second thread delivers the spool; so an MLflow server that is away
holds nobody up, and what waits outlives the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dehazing.pipeline.lease import Owner
from studies.tracking.delivering import DeliveryProcess
from studies.tracking.delivery import Delivery
from studies.tracking.ledger import Ledger, folder_of
from studies.tracking.refusal import sentence
from studies.tracking.spool import SEGMENT, Record, Spool, left_behind
from studies.tracking.spooling import SpoolWriter
from studies.tracking.views import View

GATHER_S = 1.0  # calls of this time go to MLflow in one batch
RETRY_S = (0.5, 15.0)  # first and longest wait for an MLflow that is away


@dataclass(frozen=True)
class Run:
    """What a run is made with; `key` is its name in the experiment for ever: a run that has it is continued."""

    key: str
    name: str
    parent: str | None = None  # the key of another run
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None  # logged whole, as an artifact: long parameters would be cut silently
    texts: Mapping[str, str] = field(default_factory=dict)  # artifact's name → text
    system: bool = False  # whether the machine's figures are logged while it is open


@dataclass(frozen=True)
class Link:
    """A page of MLflow's: of one run, of several compared, or of a metric of theirs against its steps.

    view: the page is of the experiment's runs in this view, which the description of the run that is above them makes.
    """

    keys: Sequence[str]
    metric: str = ""
    view: View | None = None


@dataclass(frozen=True)
class Data:
    """The dataset as MLflow's input of a run."""

    name: str
    digest: str
    source: str


class Tracker:
    """Writes runs of one experiment. Calls return at once and never raise; what they are given must not change.

    root: results folder, whose mlflow.db is used unless MLFLOW_TRACKING_URI names a server. `caller_s` is the time
    that callers spent in here. What MLflow refused for good is counted in `num_lost`, the first reason is `problem`.
    """

    def __init__(
        self, root: Path, experiment: str, tags: Mapping[str, str], data: Data, *, is_apart: bool = True
    ) -> None:
        """is_apart: MLflow is talked to by a process of its own, else by a thread (starts faster, costs this one)."""
        root = root.absolute()
        self.caller_s = 0.0
        self._ledger = Ledger(root, experiment)
        self._spool = Spool(folder_of(root, experiment))
        self._delivery: Delivery | DeliveryProcess
        self._delivery = DeliveryProcess(root, experiment) if is_apart else Delivery(root, experiment, Owner.myself())
        self._writer = SpoolWriter(self._spool, tags, asdict(data))
        self._num_delivered = self._num_failed = 0  # records of this tracker; attempts, ever
        self._away = ""  # why the last attempt failed
        self._has_answered = False
        self._news = threading.Condition()  # something was delivered, or could not be
        self._hurry = threading.Event()  # somebody waits
        self._is_closed = self._is_over = False
        self._thread = threading.Thread(target=self._deliver, name="mlflow-delivery", daemon=True)
        self._thread.start()

    def start(self, run: Run) -> None:
        """Open a run, or go on with the one that has this key."""
        self._put({"op": "start", **vars(run)})

    def log(self, key: str, metrics: Mapping[str, Any], step: int, at_s: float | None = None) -> None:
        """Metrics of an open run at a step; what is not a number is left out."""
        self._put({"op": "log", "key": key, "metrics": dict(metrics), "step": step}, at_s)

    def history(self, key: str, epochs: Sequence[Mapping[str, Any]], final: Mapping[str, Any]) -> None:
        """See to it that an open run has every metric (name with a slash) of all epochs, and the final ones.

        epochs: each with its `epoch`, the step. final: put at the step after as many epochs as there are.
        """
        self._put({"op": "history", "key": key, "epochs": epochs, "final": final})

    def tag(self, key: str, name: str, value: str) -> None:
        """A tag of an open run."""
        self._put({"op": "tag", "key": key, "name": name, "value": str(value)})

    def describe(self, key: str, text: str, links: Mapping[str, Link] | None = None) -> None:
        """The description of a run, in Markdown; `(@name)` in it becomes the address of the link of that name."""
        self._put({"op": "describe", "key": key, "text": text, "links": _plain(links)})

    def about(self, key: str, text: str, links: Mapping[str, Link] | None = None) -> None:
        """The description of the experiment that a run is of; `(@name)` as in `describe`."""
        self._put({"op": "about", "key": key, "text": text, "links": _plain(links)})

    def artifacts(self, key: str, folder: Path, under: str, *, alone: bool = False) -> None:
        """The files of a folder as they are when they are delivered, put under `under`, "" for the run's own folder.

        alone: what lies under `under` and is not in the folder any more is removed.
        """
        record = {"op": "artifacts", "key": key, "folder": str(folder.absolute()), "under": under}
        self._put({**record, "alone": alone})

    def end(self, key: str, status: str) -> None:
        """Close a run: FINISHED, FAILED, KILLED, or PRUNED, which is killed for MLflow, but for good."""
        self._put({"op": "end", "key": key, "status": status})

    def run_id(self, key: str) -> str | None:
        """MLflow's id of a run; None where it was not delivered yet."""
        return self._ledger.run_id(key)

    @property
    def num_waiting(self) -> int:
        """How many entries MLflow was not told yet, those of dead processes included."""
        return self._writer.num_waiting + self._spool.num_records

    @property
    def num_lost(self) -> int:
        """How many entries were given up."""
        return self._delivery.num_lost + self._writer.num_lost

    @property
    def problem(self) -> str:
        """Why the first one was given up."""
        return self._delivery.problem or self._writer.problem

    def flush(self, timeout_s: float = 60.0) -> bool:
        """Wait for MLflow; whether everything asked so far, and what dead processes left, is delivered or given up.

        Where MLflow is away, two attempts end the waiting.
        """
        deadline_s = time.monotonic() + timeout_s
        wanted = self._writer.num_put
        with self._news:
            failed = self._num_failed
            while not self._is_settled(wanted) and self._num_failed < failed + 2 and time.monotonic() < deadline_s:
                self._hurry.set()
                self._news.wait(min(0.2, max(0.0, deadline_s - time.monotonic())))
            self._hurry.clear()
            return self._is_settled(wanted)

    def close(self, timeout_s: float = 60.0) -> str:
        """Close what is open as KILLED and deliver what is waiting; one sentence on what MLflow misses, or "".

        timeout_s: without anything being delivered; an MLflow that does not answer is not waited for.
        """
        if not self._is_closed:
            self._is_closed = True
            self._writer.close(timeout_s)
            num_waiting = self.num_waiting + 1
            while not self.flush(timeout_s) and self.num_waiting < num_waiting:
                num_waiting = self.num_waiting
            self._is_over = True
            self._hurry.set()
            self._thread.join(0.2)  # it may be in the middle of a call, which does no harm
            self._delivery.close()
            self._spool.close()
        return self._summary()

    def _is_settled(self, wanted: int) -> bool:
        settled = self._num_delivered + self._writer.num_lost
        return self._has_answered and settled >= wanted and not self._spool.num_taken_over

    def _summary(self) -> str:
        said = []
        if self._spool.num_records:
            why = f"has not taken everything ({self._away})" if self._away else "is slow"
            where = f"{self._spool.num_records} entries wait in {self._spool.folder}"
            said.append(f"MLflow {why}: {where}; the same command delivers them.")
        if self._writer.num_waiting:  # they end with this process
            said.append(
                f"MLflow misses {self._writer.num_waiting} entries, which could not be written to {self._spool.folder} "
                "in time; the store and the report have everything."
            )
        if self.num_lost:
            said.append(
                f"MLflow misses {self.num_lost} entries ({self.problem}); the store and the report have everything."
            )
        return " ".join(filter(None, (*said, self._delivery.note)))

    def _put(self, record: Record, at_s: float | None = None) -> None:
        begun_s = time.perf_counter()
        record["at_ms"] = int((time.time() if at_s is None else at_s) * 1000)
        self._writer.put(record)
        self.caller_s += time.perf_counter() - begun_s

    def _deliver(self) -> None:
        wait_s = RETRY_S[0]
        while not self._is_over:
            try:
                segment = self._spool.oldest()
                if segment is not None or not self._has_answered:
                    self._delivery.deliver(segment)  # nothing, too: it closes the runs of dead processes
                if segment is not None:
                    self._spool.delivered()  # where that fails it is told again, which does no harm
            except Exception as error:  # MLflow is away, or the disk: nothing is lost, and it is tried again
                with self._news:
                    self._num_failed += 1
                    self._away = sentence(error)
                    self._news.notify_all()
                self._pause(wait_s)
                wait_s = min(2 * wait_s, RETRY_S[1])
                continue
            wait_s, self._away = RETRY_S[0], ""
            with self._news:
                self._num_delivered += 0 if segment is None or segment.taken_over else segment.num
                self._has_answered = True
                self._news.notify_all()
            self._pause(0.0 if segment is not None and segment.num >= SEGMENT else GATHER_S)

    def _pause(self, wait_s: float) -> None:
        """Wait, but not when somebody waits for this thread."""
        if not self._hurry.wait(wait_s):
            return
        time.sleep(min(wait_s, 0.3 if self._spool.num_records else 0.02))


def _plain(links: Mapping[str, Link] | None) -> dict[str, Any]:
    return {name: {**asdict(link), "keys": list(link.keys)} for name, link in (links or {}).items()}


def is_needed(root: Path, experiment: str) -> bool:
    """Whether a tracker should be opened even if there is nothing new to log: a process that is gone left entries.

    Or it left runs open, which a tracker closes.
    """
    return bool(left_behind(folder_of(root, experiment)))
