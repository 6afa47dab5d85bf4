"""A level t = 0 … T is checked where a caller hands one over, for Python takes -1 for the last of a list."""

from __future__ import annotations


def require_level(t: int, T: int, lowest: int = 0, name: str = "t") -> None:
    """ValueError unless `lowest <= t <= T`; lowest is 1 for what is only done to haze, such as a step of the loop."""
    if not lowest <= t <= T:
        raise ValueError(f"A level must satisfy `{lowest} <= {name} <= {T}`, but got {name} = {t}.")
