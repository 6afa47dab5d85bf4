"""The parent's end of a side: start its process, ask it, close it."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]


class Diverged(RuntimeError):
    """A network of a side has lost its numbers; the side lives on."""

    def __init__(self, name: str, how: str):
        super().__init__(f"{name} diverged: {how}")
        self.name = name


class Side:
    """A long-lived process that answers one request after the other; a context manager.

    module: what it runs, by `python`. What it says beside its answers goes to a log.
    """

    def __init__(self, name: str, python: Path | str, module: str, num_threads: int, log: Path):
        self.name, self.log = name, log
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(num_threads))
        with log.open("w") as said:
            self._process = subprocess.Popen(
                [str(python), "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                bufsize=1,
                cwd=CHECKOUT,
                env={**os.environ, "PYTHONPATH": str(CHECKOUT), **threads},
            )

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """The answer to a request; RuntimeError where there can be none, Diverged where the network is lost."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            print(json.dumps({"do": do, **arguments}), file=self._process.stdin)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            said = self.log.read_text().strip().splitlines()[-1:]
            raise RuntimeError(f"{self.name} ended at `{do}`: {' '.join(said) or 'it said nothing'}")
        answer: dict[str, Any] = json.loads(line)
        if "diverged" in answer:
            raise Diverged(self.name, answer["diverged"])
        if "error" in answer:
            raise RuntimeError(f"{self.name} failed at `{do}`: {answer['error']}")
        return answer

    def __enter__(self) -> Side:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):  # what the process did not read any more
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
