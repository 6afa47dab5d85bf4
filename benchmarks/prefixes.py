"""The distinct prefixes of some configurations by brute force: what the stage `iterative` has to compute at least."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dehazing.inference import VARIANTS, Networks, Settings

Spelt = tuple[str, frozenset[str]]  # a latent's whole history in words, and the network calls in it
START: Spelt = ("z_T", frozenset())


def distinct_calls(configurations: Iterable[tuple[str, str, str, Settings]]) -> dict[str, int]:
    """How often R, G and P have to be called: {"R": …, "G": …, "P": …}.

    configurations: (variant, degrader, what that is anchored on, settings). Every call is spelt out with its history,
    from z_T on; calls that are spelt alike are one. Nothing is shared with `dehazing.sweep`.
    """
    found: set[str] = set()
    for variant, degrader, anchor, settings in configurations:
        networks = _spelling(degrader, anchor, settings.match)
        trajectory: Any = VARIANTS[variant](START, networks, settings)  # type: ignore[arg-type]
        found.update(*(calls for part in trajectory for _, calls in part))
    return {name: sum(text.startswith(name) for text in found) for name in ("R", "G", "P")}


def _spelling(degrader: str, anchor: str, matching: str) -> Networks:
    def R(z: Any, t: int) -> Any:
        text = f"R({z[0]}, {t})"
        return text, z[1] | {text}

    def G(z0_hat: Any, s: int, z_t: Any) -> Any:
        seen = {"none": ("", frozenset()), "z_T": START, "z_t": z_t}[anchor]
        text = f"G[{degrader}]({z0_hat[0]}, {s}, {seen[0]})"
        return text, z0_hat[1] | seen[1] | {text}

    def P(z: Any) -> Any:
        text = f"P({z[0]})"
        return text, z[1] | {text}

    def lerp(start: Any, end: Any, weight: float) -> Any:
        if weight == 0 or start[0] == end[0]:
            return start
        return end if weight == 1 else (f"[{start[0]} {end[0]} {weight!r}]", start[1] | end[1])

    def exchange(z: Any, leaving: Any, entering: Any) -> Any:
        return f"<{z[0]} {leaving[0]} {entering[0]}>", z[1] | leaving[1] | entering[1]

    def match(z: Any, t: int) -> Any:
        return f"{{{z[0]} {t} {matching}}}", z[1]

    return Networks(R, G, P, lerp, exchange, match)
