"""Schedules of alpha_t, t = 0 … T: monotone from 0 at t = 0 to 1 at t = T.

One shape serves both meanings of the source's letter: as `haze_alpha` of Eq. 2 it is used as it stands; as
`combine_alpha` of Eq. 22-23 it rises with *progress*, from 0 at t = T to 1 at t = 1 (see `combine_alpha`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor


def linear(u: Tensor) -> Tensor:
    """alpha = u."""
    return u


def cosine(u: Tensor) -> Tensor:
    """alpha = (1 - cos(pi u)) / 2."""
    return (1 - torch.cos(math.pi * u)) / 2


def sigmoid(u: Tensor, steepness: float = 6.0, midpoint: float = 0.5) -> Tensor:
    """The S-shaped curve of the source's figures, a logistic function scaled to reach 0 and 1 exactly."""
    if not (steepness > 0 and 0 < midpoint < 1):
        raise ValueError(f"`steepness > 0` and `0 < midpoint < 1` must hold, but got {steepness=}, {midpoint=}.")
    low, high = torch.sigmoid(steepness * (u.new_tensor([0.0, 1.0]) - midpoint))
    scaled = (torch.sigmoid(steepness * (u - midpoint)) - low) / (high - low)
    return torch.where(u <= 0, 0.0, torch.where(u >= 1, 1.0, scaled))  # not 1e-9: a share of 0 needs no network


def power(u: Tensor, exponent: float = 2.0) -> Tensor:
    """alpha = u ** exponent."""
    if not exponent > 0:
        raise ValueError(f"`exponent > 0` must hold, but got {exponent=}.")
    return u**exponent


def constant(u: Tensor, value: float = 0.5) -> Tensor:
    """alpha = value everywhere: a fixed share, for the combinations of Eq. 22-23 only (no schedule of haze)."""
    if not 0 <= value <= 1:
        raise ValueError(f"`0 <= value <= 1` must hold, but got {value=}.")
    return torch.full_like(u, value)


SHAPES: dict[str, Callable[..., Tensor]] = {
    "linear": linear,
    "cosine": cosine,
    "sigmoid": sigmoid,
    "power": power,
    "constant": constant,
}
PARAMETERS: dict[str, tuple[str, ...]] = {
    "linear": (),
    "cosine": (),
    "sigmoid": ("steepness", "midpoint"),
    "power": ("exponent",),
    "constant": ("value",),
}


def shape(u: Tensor, kind: str, **parameters: float) -> Tensor:
    """Evaluate the schedule `kind` at u in [0, 1]; refuses unknown kinds and parameters that it does not have."""
    if not isinstance(kind, str) or kind not in SHAPES:
        raise ValueError(f"The kind of an alpha schedule must be one of {', '.join(SHAPES)}, but got {kind!r}.")
    foreign = sorted(set(parameters) - set(PARAMETERS[kind]))
    if foreign:
        has = ", ".join(PARAMETERS[kind]) or "no parameters"
        raise ValueError(f"The alpha schedule {kind!r} has {has}, but got {', '.join(foreign)}.")
    for name, value in parameters.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e6:
            raise ValueError(f"`{name}` of the alpha schedule {kind!r} must be a number below 1e6, but got {value!r}.")
    return SHAPES[kind](u, **parameters)


def alpha(kind: str, T: int, **parameters: float) -> Tensor:
    """haze_alpha of Eq. 2: (T + 1,) float64, 0 at t = 0 (clean) and 1 at t = T."""
    if T < 1:
        raise ValueError(f"`T >= 1` must hold, but got {T=}.")
    return shape(torch.linspace(0, 1, T + 1, dtype=torch.float64), kind, **parameters)


def combine_alpha(schedule: Mapping, T: int, direction: str = "rising") -> Tensor:
    """combine_alpha of Eq. 22-23: (T + 1,) float64 indexed by t; entry 0 is unused (the loop ends at t = 1).

    `rising` (default, as in the source's figures): 0 at t = T, 1 at t = 1; `falling` is its mirror image.
    """
    if direction not in ("rising", "falling"):
        raise ValueError(f"`direction` must be rising or falling, but got {direction!r}.")
    if T < 1:
        raise ValueError(f"`T >= 1` must hold, but got {T=}.")
    t = torch.arange(T + 1, dtype=torch.float64).clamp(min=1)
    progress = (T - t) / max(T - 1, 1)
    return shape(progress if direction == "rising" else 1 - progress, **schedule)


def fitted(x: Tensor) -> Tensor:
    """The alpha_t for which x_t = (1 - alpha_t) x_0 + alpha_t x_T (Eq. 2) fits a real series best, in least squares.

    x: (N, T + 1, ...) normalised images or latents. Returns (T + 1,), 0 at t = 0, 1 at t = T, clipped to [0, 1].
    """
    x_0, x_T = x[:, :1], x[:, -1:]
    haze = x_T - x_0
    dims = [0, *range(2, x.ndim)]
    best = ((x - x_0) * haze).sum(dims) / haze.square().sum(dims).clamp(min=1e-12)
    best[0], best[-1] = 0, 1
    return best.clamp(0, 1)


def remaining(haze_alpha: Sequence[float]) -> list[float]:
    """alpha_{t-1} / alpha_t: the share of the haze at level t that is still there one level below (T + 1,).

    Within [0, 1], though a fitted schedule may fall; 1 where level t has no haze. Entry 0 is unused.
    """
    return [1.0, *(min(1.0, below / here) if here > 0 else 1.0 for below, here in pairwise(haze_alpha))]
