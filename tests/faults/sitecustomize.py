"""Loaded by every Python process that finds this folder on its path: follows what it writes, and kills it at a point.

FAULTS in the environment is JSON: root (the folder that is watched), trace (a file that gets one line for each
operation), points: [{pattern, n, when, count}]: the process that does the n-th operation whose line the pattern
matches kills itself, `before` it or `after` it. `count` is a file by which processes count together, so that a point
is met once, in whichever process and run. checkpoint_every_s: how often running stages are saved.

A line is "OPERATION PATH", the path relative to the root: make, write, rename (its destination), remove, link, touch,
synced (what is written is about to be flushed), commit (of a database). Python's audit events come right before the
operation; `after` is the next operation of the same thread, or a moment later where there is none.

FAULTY_STAGES in the environment is a folder whose modules stand in for those of `dehazing.stages`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
OPERATIONS = {  # audit event → operation, and which of its arguments are the path and the folder's descriptor
    "open": ("write", 0, None),
    "os.rename": ("rename", 1, 3),
    "os.remove": ("remove", 0, 1),
    "os.rmdir": ("remove", 0, 1),
    "os.mkdir": ("make", 0, 2),
    "os.symlink": ("link", 1, 2),
    "os.link": ("link", 1, 3),
    "os.utime": ("touch", 0, 3),
    "os.truncate": ("write", 0, None),
}


class Watch:
    """What this process does below the root."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.root = plan["root"].rstrip("/") + "/"
        self.points = [
            (re.compile(p["pattern"]), p["n"], p["when"], os.open(p["count"], os.O_RDWR | os.O_CREAT | os.O_APPEND))
            for p in plan.get("points", ())
        ]
        trace = plan.get("trace")
        self.trace = None if trace is None else os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.checkpoint_every_s = plan.get("checkpoint_every_s")
        self.here = threading.local()  # whether this thread's last operation was its last one

    def event(self, name: str, arguments: tuple[Any, ...]) -> None:
        """An audit event, right before what it is about."""
        if name not in OPERATIONS:
            return
        if self.checkpoint_every_s is not None:
            self.hasten()
        operation, which, where = OPERATIONS[name]
        if name == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITING):
            return
        folder = arguments[where] if where is not None and len(arguments) > where else -1
        self.done(operation, _path(arguments[which], folder))

    def done(self, operation: str, path: str) -> None:
        """An operation is about to be done."""
        if getattr(self.here, "is_last", False):
            _die()
        if not path.startswith(self.root):
            return
        line = f"{operation} {path[len(self.root) :]}"
        if self.trace is not None:
            os.write(self.trace, f"{os.getpid()} {line}\n".encode())
        met = [when for pattern, n, when, count in self.points if pattern.search(line) and _counted(count) == n]
        if "before" in met:
            _die()
        if met:
            self.here.is_last = True
            threading.Thread(target=_die, args=(0.05,), daemon=True).start()

    def hasten(self) -> None:
        """Stages save themselves as often as the plan says, once their module is there."""
        module = sys.modules.get("dehazing.pipeline.execute")
        if module is None or not hasattr(module, "_epochs"):
            return
        every_s, self.checkpoint_every_s = self.checkpoint_every_s, None
        for function in (module.execute, module.executing):
            code, defaults = function.__code__, list(function.__defaults__)
            names = code.co_varnames[: code.co_argcount][-len(defaults) :]
            defaults[names.index("checkpoint_every_s")] = every_s
            function.__defaults__ = tuple(defaults)


def _path(path: Any, folder: Any) -> str:
    try:
        text = os.fsdecode(path)
        if isinstance(folder, int) and folder >= 0 and not os.path.isabs(text):  # noqa: PTH117
            text = f"{os.readlink(f'/proc/self/fd/{folder}')}/{text}"  # noqa: PTH115
        return os.path.abspath(text)  # noqa: PTH100
    except (OSError, TypeError):  # a descriptor
        return ""


def _counted(count: int) -> int:
    """One more, over all processes."""
    os.write(count, b"x")
    return os.lseek(count, 0, os.SEEK_CUR)


def _die(after_s: float = 0.0) -> None:
    if after_s:
        time.sleep(after_s)
    os.kill(os.getpid(), signal.SIGKILL)


def _install(plan: dict[str, Any]) -> None:
    import sqlite3.dbapi2 as database

    watch = Watch(plan)
    fsync, connect = os.fsync, database.connect

    def synced(descriptor: int) -> None:
        watch.done("synced", os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115
        fsync(descriptor)

    class Connection(database.Connection):
        def commit(self) -> None:
            for _, name, path in self.execute("PRAGMA database_list").fetchall():
                if name == "main":
                    watch.done("commit", path)
            super().commit()

    def connected(*words: Any, **options: Any) -> Any:
        return connect(*words, **{"factory": Connection, **options})

    os.fsync = synced
    database.connect = connected
    sys.addaudithook(watch.event)


class StandIns:
    """Finds `dehazing.stages` with a folder before its own."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != "dehazing.stages":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.submodule_search_locations is not None:
            spec.submodule_search_locations.insert(0, os.environ["FAULTY_STAGES"])
        return spec


if "FAULTY_STAGES" in os.environ:
    sys.meta_path.insert(0, StandIns)
if "FAULTS" in os.environ:
    _install(json.loads(os.environ["FAULTS"]))
