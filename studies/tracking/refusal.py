"""Which failures of MLflow are the entry's own fault, and which pass: a server that is away, busy or closed to us."""

from __future__ import annotations

LATER = (401, 403, 408, 409, 429, 503, 504)  # may serve later: no access yet, a conflict, too busy


def is_refusal(error: Exception) -> bool:
    """Whether asking again is of no use: the entry is at fault, not the server or the way to it."""
    status = status_of(error)
    if status is not None:
        return 400 <= status < 500 and status not in LATER
    if isinstance(error, OSError):
        return isinstance(error, FileNotFoundError | NotADirectoryError)  # a folder of artifacts that is gone
    return isinstance(error, LookupError | TypeError | ValueError | AttributeError)


def status_of(error: Exception) -> int | None:
    """The HTTP status of a failure, MLflow's own or its artifact server's; None for any other exception."""
    asked = getattr(error, "get_http_status_code", None)
    if asked is not None:
        return int(asked())
    return getattr(getattr(error, "response", None), "status_code", None)


def sentence(error: Exception) -> str:
    """An exception in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
