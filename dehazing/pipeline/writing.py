"""What becomes of a write that the system refuses: one sentence, and a kind of its own, as trying later may help."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class Unwritable(ValueError):
    """The store is full, cannot be written or not be reached; what was under way can go on once it can."""


class Full(Unwritable):
    """The disk that a folder lies on is full, or one may write no more there."""


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns a failure to write below `folder` into the one sentence that the user needs, Unwritable or Full."""
    try:
        yield
    except OSError as error:
        kind = Full if error.errno in NO_SPACE else Unwritable
        raise kind(
            f"The results folder {folder} must be writable, but cannot be written: {error.strerror or error}."
        ) from error


def make_durable(path: Path) -> None:
    """Flushes a file or a folder, as a machine that loses power after a rename could find neither old nor new whole."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file servers that cannot flush a folder
            raise
    finally:
        os.close(descriptor)
