"""Which failures would come again however often a stage is tried; these are remembered, all others are tried again."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from dehazing.pipeline.execution import Execution, OtherCode
from dehazing.pipeline.lease import Busy, LeaseLost
from dehazing.pipeline.stage import Context
from dehazing.pipeline.store import Damaged, Store, Unwritable
from dehazing.pipeline.writing import NO_SPACE, Full

# of machines and of other processes: a lost file server, a GPU that has fallen off the bus
PASSING = (OSError, torch.AcceleratorError, LeaseLost, Busy, Unwritable, Damaged)
NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")  # in a RuntimeError's words

ASKED = re.compile(r"allocate ([\d.]+ ?\w+)")  # as torch and numpy say how much it was
SIZES = ("batch_size", "patch_px", "base", "width", "num_samples")  # settings that memory grows with


class FailedBefore(RuntimeError):
    """The execution was tried before, and its failure was remembered."""


@contextmanager
def remembering(store: Store, address: str) -> Iterator[None]:
    """Remembers with the store what fails in here, unless it may go well another time."""
    try:
        yield
    except Exception as error:
        if comes_again(error):
            store.remember_failure(address, reason_of(error))
        raise


def comes_again(error: Exception) -> bool:
    """Whether the same settings, data and code would fail like this again."""
    return not isinstance(error, PASSING) and not is_out_of_memory(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, which depends on what else runs there."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in NO_MEMORY)


@contextmanager
def with_sizes(execution: Execution, context: Context) -> Iterator[None]:
    """Turns whatever says that memory ran out into one MemoryError, which says for what, and what can be lowered."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        found = ASKED.search(str(error))
        how_much = f"{found[1]} more" if found else "more memory"
        sizes = [f"`{name}` = {execution.config[name]}" for name in SIZES if name in execution.config]
        fields = context.series.fields
        frames = "fields of " + " x ".join(map(str, fields[0].frames.shape)) + " px" if fields else "no fields"
        lower = " or ".join(f"`{name}`" for name in SIZES[:2] if name in execution.config) or "the size of the fields"
        raise MemoryError(
            f"{execution.kind} must fit into the memory of {context.device}, but {how_much} could not be allocated "
            f"with {', '.join([*sizes, f'{len(fields)} {frames}'])}: lower {lower}, or run fewer trials side by side."
        ) from error


def full_here(error: BaseException, place: str) -> str:
    """In a sentence, that the disk of this machine is full, and not what all share; "" where that is not what happened.

    place: of the store. With a folder for a store, what could not be written there is everybody's.
    """
    own = isinstance(error, Full) and "://" in place
    if not own and not (isinstance(error, OSError) and error.errno in NO_SPACE):
        return ""
    told = error.__cause__ if own else error
    where = getattr(told, "filename", None)
    return f"The disk of {socket.gethostname()} must have room, but is full{f': {where}' if where else ''}."


def ending_of(error: Exception, place: str = "") -> dict[str, Any]:
    """What whoever asked for the work is told of an error that ended it; raises the error where the process must go.

    place: of the store. stop: nothing more can be made at all, and why. full: nothing more here, as the disk of this
    machine is full. busy: somebody else is at it. failed: why, and out_of_memory: whether it may go well alone.
    """
    full = full_here(error, place)
    if full:
        return {"full": full}
    if isinstance(error, (Unwritable, Damaged, OtherCode)):
        return {"stop": str(error)}
    if isinstance(error, Busy):
        return {"busy": True}
    if not comes_again(error) and not is_out_of_memory(error):
        raise error
    return {"failed": reason_of(error), "out_of_memory": is_out_of_memory(error)}


def reason_of(error: BaseException) -> str:
    """One sentence for the record."""
    if isinstance(error, FailedBefore):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
