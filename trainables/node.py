"""What every node of a cluster must have alike: versions, and the store's folder."""

from __future__ import annotations

import platform
import socket
import time
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "numpy", "scipy", "scikit-image", "safetensors", "tifffile")  # what numbers depend on
RETRIES_S = (1.0, 4.0, 10.0)
SIGN = "results.id"  # in a results folder, another in each


def alike(place: str) -> dict[str, str]:
    """Name → value of what must be the same on every node; place: what `open_store` takes.

    OSError where it is a folder that cannot be read.
    """
    found = dict(_versions())
    if "://" not in place:
        found[place] = (Path(place) / SIGN).read_text().strip()
    return found


def difference(expected: Mapping[str, str], place: str) -> str:
    """In which way this node differs from what is expected, in a sentence that names it; "" where it does not."""
    host = socket.gethostname()
    try:
        found = alike(place)
    except OSError as error:
        said = error.strerror or type(error).__name__
        return f"Every node must see the results folder {place}, a shared one, but {host} does not: {said}."
    for name, here in found.items():
        there = expected[name]
        if here == there:
            continue
        if name == place:
            return f"Every node must see the results folder {place}, a shared one, but {host} sees another there."
        return f"Every node must have {name} {there}, as the driver's host has, but {host} has {here}."
    return ""


@cache
def _versions() -> Mapping[str, str]:
    found = {"Python": ".".join(platform.python_version_tuple()[:2])}
    for package in PACKAGES:
        try:
            found[package] = version(package).partition("+")[0]  # 2.13.0+cpu beside 2.13.0+cu130 is meant
        except PackageNotFoundError:
            found[package] = "none"
    return found


class Unlike(OSError):
    """A node differs from the driver's host: a failure that passes, as what it was given is done elsewhere."""


def require_alike(expected: Mapping[str, str], place: str) -> None:
    """Unlike where this node differs, for longer than a folder takes that is about to be mounted."""
    for wait_s in (*RETRIES_S, None):
        said = difference(expected, place)
        if not said:
            return
        if wait_s is None:
            raise Unlike(said)
        time.sleep(wait_s)


def node_id() -> str:
    """Of this node in its cluster; "" without Ray."""
    import ray

    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else ""
