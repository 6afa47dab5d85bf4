"""What every node of a cluster must have alike: versions, and the store's folder."""

from __future__ import annotations

import platform
import socket
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "numpy", "scipy", "scikit-image", "safetensors", "tifffile")  # what numbers depend on
SIGN = "results.id"  # in a results folder, another in each


def alike(place: str) -> dict[str, str]:
    """Name → value of what must be the same on every node; place: what `open_store` takes."""
    found = dict(_versions())
    if "://" not in place:
        try:
            found[place] = (Path(place) / SIGN).read_text().strip()
        except OSError:
            found[place] = "none"
    return found


def difference(expected: Mapping[str, str], place: str) -> str:
    """In which way this node differs from what is expected, in a sentence that names it; "" where it does not."""
    host = socket.gethostname()
    for name, here in alike(place).items():
        there = expected[name]
        if here == there:
            continue
        if name == place:
            return f"Every node must see the results folder {place}, a shared one, but {host} sees another or none."
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
