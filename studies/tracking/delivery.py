"""Tells MLflow what the spool's records say; telling it twice does no harm.

A run is looked for by its key before it is made again. Parameters are given once; a metric that is there with the same
step, time and value is dropped by MLflow itself. So a segment of which nobody knows how much was delivered is simply
delivered again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from dehazing.pipeline.lease import Owner
from studies.tracking.experiment import FOLDER, Experiment
from studies.tracking.ledger import Ledger
from studies.tracking.open_run import MAX_TAG, OpenRun
from studies.tracking.refusal import LATER, is_refusal, sentence, status_of
from studies.tracking.spool import Record, Segment, records_of

FINAL = ("FINISHED", "FAILED")  # what a run was not merely left as
TEXTS = "texts"  # tag of a run: the digest of its texts as they are
PATIENCE = 8  # attempts at a record on which MLflow fails although it answers, before it counts as refused


class Delivery:
    """Delivers to one experiment. `num_lost` entries were refused for good, `problem` is the first reason."""

    def __init__(self, root: Path, experiment: str, owner: Owner, *, is_first: bool = True) -> None:
        """owner: whose runs they are. is_first: nothing was delivered for it before, so no run of it is open."""
        self.ledger = Ledger(root, experiment)
        self._mlflow, self._is_connected = Experiment(root, experiment, self.ledger), False
        self.num_lost, self.problem = 0, ""
        self._owner, self._is_first = owner, is_first
        self._open: dict[str, OpenRun] = {}
        self._uncertain: set[str] = set()  # keys whose run may have been made, or not wholly
        self._ended: dict[str, str] = {}  # key → status, to be noted in the ledger
        self._last_ms: dict[str, int] = {}  # key → its last record, in a segment that was taken over
        self._num_done = 0  # records of the segment under way
        self._num_failed = 0  # attempts in a row

    def deliver(self, segment: Segment | None) -> None:
        """Tell MLflow; any exception means that it is away: call again with the same segment, later.

        What a segment that was taken over leaves open is closed, as its process is gone, but for what somebody else
        went on with after it. None: only connect.
        """
        records = [] if segment is None else records_of(segment.path)
        taken_over = segment is not None and segment.taken_over
        again = taken_over or not self._is_first
        self._last_ms = {record["key"]: record["at_ms"] for record in records} if taken_over else {}
        try:
            if not self._is_connected:
                self._connect()
            while self._num_done < len(records):
                record = records[self._num_done]
                self._attempt(record["key"], partial(self._tell, record, again))
                self._num_done += 1
            for key in list(self._open):
                self._attempt(key, partial(self._send, key))
            if self._last_ms:
                self._kill(max(self._last_ms.values()))
            self.ledger.ended(self._ended)
            self._ended = {}
        except Exception:
            self._num_failed += 1
            raise
        self._num_done = self._num_failed = 0
        if segment is not None:
            self._is_first = True  # from here on this process knows what it made

    def close(self) -> None:
        """Nothing to end."""

    def _connect(self) -> None:
        """To MLflow, where runs of processes that are gone are closed."""
        self._is_connected = False
        self._mlflow.connect()
        for run in self._mlflow.search("attributes.status = 'RUNNING'"):
            owner = _owner(run)
            if owner is None or owner.is_gone() or (owner == self._owner and self._is_first and not self._open):
                self._client.set_terminated(run.info.run_id, status="KILLED")
                self._ended[run.data.tags.get("key", "")] = "KILLED"
        self._is_connected = True

    @property
    def _client(self) -> Any:
        return self._mlflow.client

    @property
    def note(self) -> str:
        """One sentence on what MLflow does not show, or ""."""
        return self._mlflow.note

    def _attempt(self, key: str, tell: Callable[[], None]) -> None:
        """Tell, where what is refused for good is counted and left; raises where MLflow is away."""
        try:
            try:
                tell()
            except Exception as error:
                if not self._is_refused(error) or not self._is_made_again(key):
                    raise
                tell()
        except Exception as error:
            if not self._is_refused(error):
                raise
            self._lose(error)

    def _lose(self, error: Exception) -> None:
        self.num_lost += 1
        self.problem = self.problem or sentence(error)

    def _is_refused(self, error: Exception) -> bool:
        if is_refusal(error):
            return True
        return self._num_failed >= PATIENCE and status_of(error) not in LATER and self._mlflow.answers()

    def _tell(self, record: Record, again: bool) -> None:
        key = record["key"]
        if record["op"] == "start" and (key not in self._open or key in self._uncertain):
            self._start(record, again)
        elif record["op"] == "start":
            self._open[key].add_tags(record["tags"])
        elif record["op"] == "end":
            self._end(record)
        else:
            getattr(self._run(record), record["op"])(record)

    def _start(self, record: Record, again: bool) -> None:
        from mlflow.entities import RunTag

        key = record["key"]
        owner = json.dumps(record.get("owner", asdict(self._owner)))
        tags = {**record["tags"], "key": key, FOLDER: self._mlflow.folder, "owner": owner}
        parent = self._open[record["parent"]].run_id if record["parent"] in self._open else None
        parent = parent or (self.ledger.run_id(record["parent"]) if record["parent"] else None)
        if parent is not None:
            tags["mlflow.parentRunId"] = parent
        tags = {name: value[:MAX_TAG] for name, value in tags.items()}
        before = self._open.get(key)
        whole = not again and key not in self._uncertain
        try:
            found, made = self._found_or_made(record, tags, not whole)
        except Exception as error:
            if not self._is_refused(error):
                raise
            self._connect()  # the experiment was deleted meanwhile, or the database is another one
            found, made = self._found_or_made(record, tags, not whole)
        if found is not None and self._is_ahead(found, record):
            self._open[key] = OpenRun(self._mlflow, found, None, is_new=False, keeps_tags=True)
            return
        run = OpenRun(self._mlflow, found or made, record, is_new=found is None)
        if before is not None:  # its run was deleted
            run.metrics, run.tags = before.metrics, before.tags
        if found is not None:
            self._client.log_batch(run.run_id, tags=[RunTag(name, value) for name, value in tags.items()])
            self._client.update_run(run.run_id, status="RUNNING")
        self._open[key] = run
        self._describe(run, record, found)
        self._uncertain.discard(key)

    def _found_or_made(self, record: Record, tags: Mapping[str, str], search: bool) -> tuple[Any, Any]:
        key = record["key"]
        with self.ledger.alone():
            found = self._mlflow.found(key, search)
            if found is not None:
                return found, None
            self._uncertain.add(key)
            made = self._client.create_run(self._mlflow.id, record["at_ms"], dict(tags), record["name"])
            self.ledger.add({key: made.info.run_id})
            return None, made

    def _describe(self, run: OpenRun, record: Record, found: Any) -> None:
        """Parameters, dataset and texts, of which `found` may have a part already; texts again where they differ."""
        from mlflow.entities import Dataset, DatasetInput, Param

        there = {} if found is None else found.data.params
        run.params = [Param(name, str(value)) for name, value in record["params"].items() if name not in there]
        if found is None or not found.inputs.dataset_inputs:
            data = record["data"]
            dataset = Dataset(data["name"], data["digest"], "local", data["source"])
            self._client.log_inputs(run.run_id, [DatasetInput(dataset)])
        texts = dict(record["texts"])
        if record["config"] is not None:
            texts["config.json"] = json.dumps(record["config"], indent=2)
        digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()[:12]
        if texts and (found is None or found.data.tags.get(TEXTS) != digest):
            run.put(texts)
            run.add_tags({TEXTS: digest})  # only now: a process that is killed in between puts them again

    def _run(self, record: Record) -> OpenRun:
        """The run that is told about; LookupError where its start was refused."""
        key = record["key"]
        if key not in self._open:
            found = self._mlflow.found(key, search=True)
            if found is None:
                raise LookupError(f"no run of {key} was made")
            ahead = self._is_ahead(found, record)
            self._open[key] = OpenRun(self._mlflow, found, None, is_new=False, keeps_tags=ahead)
        return self._open[key]

    def _is_ahead(self, found: Any, record: Record) -> bool:
        """Whether, after a process that is gone, somebody else goes on with the run it tells of, or finished it."""
        if record["key"] not in self._last_ms:
            return False
        if found.info.status == "RUNNING":
            owner = _owner(found)
            if owner is None or owner.is_gone() or "owner" not in record:
                return False
            return owner not in (Owner(**record["owner"]), self._owner)
        final = found.info.status in FINAL or self.ledger.status(record["key"]) == "PRUNED"
        return final and found.info.end_time > self._last_ms[record["key"]]

    def _is_made_again(self, key: str) -> bool:
        """Whether a run that was told about had been deleted meanwhile, and was made anew."""
        run = self._open.get(key)
        if run is None or run.record is None or run.was_made_again or self._mlflow.active(run.run_id) is not None:
            return False
        self._uncertain.add(key)
        self._start(run.record, again=True)
        self._open[key].was_made_again = True
        return True

    def _send(self, key: str) -> None:
        try:
            self._open[key].send()
        except Exception as error:
            if not self._is_refused(error):
                raise
            if self._is_made_again(key):
                return self._send(key)
            self._open[key].send_parts(self._is_refused, self._lose)

    def _end(self, record: Record) -> None:
        key, status = record["key"], record["status"]
        self._ended[key] = status  # also where MLflow refuses it, which it would again
        self._run(record)
        self._send(key)
        run = self._open[key]  # the one before may have been deleted
        if run.record is None and self._is_ahead(run.found, record):
            del self._ended[key]
        else:
            called = "KILLED" if status == "PRUNED" else status
            self._client.set_terminated(run.run_id, status=called, end_time=record["at_ms"])
        del self._open[key]

    def _kill(self, at_ms: int) -> None:
        """Close what a process that is gone started and did not end; what it did not start is no business of it."""
        for key in self._last_ms.keys() & self._open.keys():
            if self._open[key].record is None:
                del self._open[key]
            else:
                self._attempt(key, partial(self._end, {"key": key, "status": "KILLED", "at_ms": at_ms}))


def _owner(run: Any) -> Owner | None:
    try:
        return Owner(**json.loads(run.data.tags["owner"]))
    except (LookupError, TypeError, ValueError):
        return None  # nobody of ours
