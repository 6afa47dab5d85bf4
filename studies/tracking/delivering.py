"""A process of its own that talks to MLflow, whose calls take tens of milliseconds of a processor each.

It is told of one segment after the other on its standard input and answers when it is delivered, or why not. It ends
with whoever started it; a new one goes on where it ended, as telling MLflow twice does no harm.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dehazing.pipeline.lease import Owner
from studies.tracking.delivery import Delivery
from studies.tracking.refusal import sentence
from studies.tracking.spool import Segment

CHECKOUT = str(Path(__file__).parents[2])
NICENESS = 5  # logging makes way for arithmetic
DEATHS = 5  # of the process in a row, with one segment, before MLflow counts as away
ENDS_WITHIN_S = 2.0  # of closing its pipe


class DeliveryProcess:
    """As Delivery, in another process."""

    def __init__(self, root: Path, experiment: str) -> None:
        self.num_lost, self.problem, self.note = 0, "", ""
        self._words = [sys.executable, "-m", "studies.tracking.delivering", str(root), experiment]
        self._words.append(json.dumps(asdict(Owner.myself())))
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115, of the process
        self._num_started = 0
        self._is_closed = False
        self._num_lost_before = 0  # by processes that ended

    def deliver(self, segment: Segment | None) -> None:
        """Have MLflow told; RuntimeError where it is away: call again with the same segment, later."""
        asked = None if segment is None else {**asdict(segment), "path": str(segment.path)}
        answer = self._answer(json.dumps(asked).encode() + b"\n")
        self.num_lost = self._num_lost_before + answer["num_lost"]
        self.problem, self.note = self.problem or answer["problem"], answer["note"]
        if answer["away"]:
            raise RuntimeError(answer["away"])

    def _answer(self, line: bytes) -> dict[str, Any]:
        """What the process says to a line; where it was killed meanwhile a new one is asked, as that is no outage."""
        for _ in range(DEATHS):
            if self._is_closed:
                break
            if self._process is None or self._process.poll() is not None:
                self._start()
            process = self._process
            assert process is not None and process.stdin is not None and process.stdout is not None
            try:
                process.stdin.write(line)
                process.stdin.flush()
                answer: dict[str, Any] = json.loads(process.stdout.readline())
                return answer
            except (OSError, ValueError) as error:
                code, said = self._end()
                if code > 0:  # it gave up by itself, and would again
                    raise RuntimeError(f"the process that tells MLflow has ended with {code}: {said}") from error
        raise RuntimeError("the process that tells MLflow was ended")

    def close(self) -> None:
        """End the process, at once: what it was about is delivered again by the next tracker."""
        self._is_closed = True
        self._end()

    def _end(self) -> tuple[int, str]:
        """The exit code of the process, negative where it was killed, and the last line that it said."""
        process = self._process
        if process is None:
            return 0, ""
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0 if self._is_closed else ENDS_WITHIN_S)  # whose pipe is closed is about to end
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return process.wait(), lines[-1] if lines else ""

    def _start(self) -> None:
        self._num_lost_before = self.num_lost
        self._stderr.seek(0)
        self._stderr.truncate()
        self._process = subprocess.Popen(
            [*self._words, "first" if self._num_started == 0 else "again"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (CHECKOUT, os.environ.get("PYTHONPATH"))))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,  # Ctrl-C is for the driver, which ends this one when it is done
        )
        self._num_started += 1


def main(root: str, experiment: str, owner: str, which: str) -> None:
    """Deliver what the standard input names until it ends."""
    parent = Owner(**json.loads(owner))
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    os.nice(NICENESS)
    answers, sys.stdout = sys.stdout, sys.stderr  # what MLflow prints is no answer
    delivery = Delivery(Path(root), experiment, parent, is_first=which == "first")
    for line in sys.stdin:
        asked: dict[str, Any] | None = json.loads(line)
        away = ""
        try:
            delivery.deliver(None if asked is None else Segment(**{**asked, "path": Path(asked["path"])}))
        except Exception as error:  # told to whoever asked, who tries again
            away = sentence(error)
        answer = {"num_lost": delivery.num_lost, "problem": delivery.problem, "note": delivery.note, "away": away}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _end_with(parent: Owner) -> None:
    while not parent.is_gone():
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
