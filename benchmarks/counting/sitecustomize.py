"""Notes every product of a stage as it is published, in whichever process: an independent count of executions.

Python imports a module of this name by itself from a folder on PYTHONPATH. Where BENCHMARK_LOG names a file, every
call of a store's `publish` adds one line {address, arithmetic_s, begun, at, pid}: also that of a product that is there
already, so that work done twice is counted twice. `arithmetic_s` is what this process spent in building stages, in
their epochs and in finishing them since the line before, `begun` the time of the first of these; of a batch that is
evaluated together the first line has it all. Nothing is imported that the process would not import anyway.
"""

import functools
import importlib.abc
import importlib.machinery
import json
import os
import sys
import time

STORE = "dehazing.pipeline.store"
KINDS = ("unet", "nafnet", "hdn", "hvae", "restorer", "degrader", "iterative")
STAGES = tuple(f"dehazing.stages.{kind}" for kind in KINDS)
ARITHMETIC = ("__init__", "train_epoch", "finish", "finish_each")
spent = {"s": 0.0, "begun": 0.0, "depth": 0}


class Finder(importlib.abc.MetaPathFinder):
    """Finds the watched modules as always, and wraps their methods once they are loaded."""

    def find_spec(self, name, path=None, target=None):
        if name != STORE and name not in STAGES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None and spec.loader is not None, name
        load = spec.loader.exec_module

        def loaded(module):
            load(module)
            if name in STAGES:
                for method in [method for method in ARITHMETIC if hasattr(module.Stage, method)]:  # inherited ones, too
                    setattr(module.Stage, method, timed(getattr(module.Stage, method)))
                return
            for found in list(vars(module).values()):
                if isinstance(found, type) and found.__module__ == name and "publish" in vars(found):
                    setattr(found, "publish", counted(vars(found)["publish"]))  # noqa: B010

        spec.loader.exec_module = loaded  # type: ignore[method-assign]
        return spec


def timed(method):
    """A stage's method, whose time counts as arithmetic."""

    @functools.wraps(method)
    def wrapped(*arguments, **named):
        begun, since = time.time(), time.perf_counter()
        spent["begun"] = spent["begun"] or begun
        spent["depth"] += 1
        try:
            return method(*arguments, **named)
        finally:
            spent["depth"] -= 1
            if not spent["depth"]:  # a method that calls another one counts once
                spent["s"] += time.perf_counter() - since

    return wrapped


def counted(publish):
    """`publish`, which adds a line to the log first."""

    @functools.wraps(publish)
    def wrapped(self, address, files, *more, **named):
        if not address.startswith("series/"):
            now = time.time()
            seconds = spent["s"] * sys.modules["torch"].get_num_threads()
            line = {"address": address, "arithmetic_s": seconds, "begun": spent["begun"] or now, "at": now}
            spent.update(s=0.0, begun=0.0)
            with open(os.environ["BENCHMARK_LOG"], "a") as log:  # noqa: PTH123  # one write, so lines stay whole
                log.write(json.dumps({**line, "pid": os.getpid()}) + "\n")
        return publish(self, address, files, *more, **named)

    return wrapped


if os.environ.get("BENCHMARK_LOG"):
    sys.meta_path.insert(0, Finder())
