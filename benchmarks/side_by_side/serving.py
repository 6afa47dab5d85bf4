"""A side in a process of its own: it is told over a pipe to begin, to go on by so many steps and to restore.

Here are numpy and torch alone, as this is imported in an environment that has nothing of ours. A request is a line of
JSON on standard input, an answer one on standard output; whatever a library prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np
import torch
from torch import Tensor

from benchmarks.side_by_side.batches import Batches, images


class Trainee(Protocol):
    """A network and what trains it, as a side offers it."""

    def num_parameters(self) -> int: ...

    def step(self, x_t: Tensor, t: Tensor, x_0: Tensor) -> None:
        """One step of training on a batch."""

    def restore(self, x_t: Tensor, t: int) -> Tensor:
        """The prediction for whole images (N, Y, X) of one level, (N, Y, X)."""


Make = Callable[[dict[str, Any], int, int], Trainee]  # of a setting, the number of steps and T


def serve(makers: Mapping[str, Make]) -> None:
    """Answer requests until the pipe is closed; makers: method → what makes its trainee."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    serving = Serving(makers)
    for line in sys.stdin:
        _answer(serving, json.loads(line), answers)


def _answer(serving: Serving, request: dict[str, Any], answers: TextIO) -> None:
    try:
        answer = getattr(serving, request.pop("do"))(**request)
    except FloatingPointError as error:
        answer = {"diverged": str(error)}
    except Exception as error:  # it is the parent's to end the run, and to say why
        answer = {"error": f"{type(error).__name__}: {error}"}
        raise
    finally:
        print(json.dumps(answer), file=answers)


class Serving:
    """What a request may ask for, by name; one trainee at a time."""

    def __init__(self, makers: Mapping[str, Make]):
        self.makers = makers

    def begin(self, method: str, setting: dict[str, Any], seed: int, num_steps: int, folder: str) -> dict[str, Any]:
        """Make the network of a seed; its parameters."""
        self.folder, self.done = Path(folder), 0
        self.batches = Batches(self.folder, seed)
        torch.manual_seed(seed)
        self.trainee = self.makers[method](setting, num_steps, self.batches.T)
        return {"num_parameters": self.trainee.num_parameters()}

    def go_on(self, num_steps: int) -> dict[str, Any]:
        """Train by so many steps; wall and CPU seconds of each, without what makes the batch."""
        wall, cpu = [], []
        for _ in range(num_steps):
            batch = self.batches(self.done)
            begun, begun_cpu = time.perf_counter(), time.process_time()
            self.trainee.step(*batch)
            wall.append(time.perf_counter() - begun)
            cpu.append(time.process_time() - begun_cpu)
            self.done += 1
        return {"wall_s": wall, "cpu_s": cpu}

    def restore(self, split: str, levels: list[int], into: str) -> dict[str, Any]:
        """Write the predictions of a split, (levels, N, Y, X), to a file."""
        frames = images(self.folder, split)
        with torch.random.fork_rng(devices=[]):
            restored = torch.stack([self.trainee.restore(frames[:, t], t) for t in levels])
        np.save(into, restored.numpy())
        return {}
