"""How the series walks from x_0 to x_T, as images and as latents: is the latent path smoother, as the source hoped?

Three questions, each for pixels and for latents: how much longer is the path than its chord, how much of a level lies
on the straight line of Eq. 2, and how much of the next level is a line from the one above it. Noise of its own in
every frame lengthens a path and is no part of any line, so noise-free levels are measured, too, where they are known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dehazing import schedules
from dehazing.data.latents import Latent, at_level
from dehazing.degradation import degrade
from dehazing.linear_bounds import explained, fit_gains

ALL = 0  # stands for all groups together


@torch.no_grad()
def walked(z: Latent, z_train: Latent) -> list[dict[str, Any]]:
    """Records of `measure`, `group` (1 the finest, 0 all of them), `level`, `value` and `fields`, one value per field.

    z, z_train: latents of test and of training fields, tuples of (N, T + 1, C_i, h_i, w_i), N of their own; images
    are the latents of one group. Maps are fitted on the training fields and scored on the others.

    `length`: of the path z_0 … z_T over its chord (no level; by field; 1 is a straight line). Else shares of the
    variance within the channels that are explained (`ALL`: mean over the groups): of z_t at the levels 1 … T - 1 by
    `alpha`, Eq. 2 with the fitted haze_alpha and an offset per channel, and by `span`, a gain per channel for z_0 and
    z_T and an offset; of z_t at the levels 0 … T - 1 by `next`, a gain and an offset per channel for z_{t+1}.
    `haze_alpha` is the fitted share itself.
    """
    T = z[0].shape[1] - 1
    records = [_of_fields("length", group, _lengths(z, group)) for group in range(len(z) + 1)]
    haze_alpha = schedules.fitted(torch.cat([group.flatten(2) for group in z_train], 2)).tolist()
    for s in range(1, T):
        records.append({"measure": "haze_alpha", "group": ALL, "level": s, "value": haze_alpha[s], "fields": None})
        records += _shares("alpha", s, _mixed(z, z_train, s, haze_alpha[s]), at_level(z, s))
        records += _shares("span", s, _mapped(z, z_train, (0, T), s), at_level(z, s))
    for s in range(T):
        records += _shares("next", s, _mapped(z, z_train, (s + 1,), s), at_level(z, s))
    return records


def both_walked(x: Tensor, x_train: Tensor, encode: Callable[[Tensor], Latent], seen: str) -> list[dict[str, Any]]:
    """`walked` of images (N, T + 1, Y, X) and of their latents, each record told its `domain`, and what was `seen`."""
    found = []
    for domain, E in (("pixels", lambda x: (x[:, :, None],)), ("latents", encode)):
        found += [{"domain": domain, "seen": seen, **record} for record in walked(E(x), E(x_train))]
    return found


def _lengths(z: Latent, group: int) -> list[float]:
    chosen = z if group == ALL else (z[group - 1],)
    steps = torch.cat([part.double().flatten(2).diff(dim=1) for part in chosen], 2)  # (N, T, D)
    path, chord = steps.norm(dim=2).sum(1), steps.sum(1).norm(dim=1)
    return (path / chord.clamp(min=1e-12)).tolist()


def _mixed(z: Latent, z_train: Latent, s: int, haze_alpha: float) -> Latent:
    """Eq. 2 between the ends, and what it leaves of the mean of each channel on the training fields."""
    T = z[0].shape[1] - 1

    def line(of: Latent) -> Latent:
        return tuple(degrade(a, b, haze_alpha) for a, b in zip(at_level(of, 0), at_level(of, T), strict=True))

    left = (
        (true - made).mean((0, 2, 3), keepdim=True)
        for true, made in zip(at_level(z_train, s), line(z_train), strict=True)
    )
    return tuple(made + offset for made, offset in zip(line(z), left, strict=True))


def _mapped(z: Latent, z_train: Latent, levels: tuple[int, ...], s: int) -> Latent:
    fitted = fit_gains([at_level(z_train, t) for t in levels], at_level(z_train, s))
    return fitted([at_level(z, t) for t in levels])


def _shares(measure: str, level: int, made: Latent, true: Latent) -> list[dict[str, Any]]:
    shares = [explained((guess,), (group,)) for guess, group in zip(made, true, strict=True)]
    whole = sum(shares) / len(shares)
    return [
        {"measure": measure, "group": group, "level": level, "value": value, "fields": None}
        for group, value in enumerate([whole, *shares])
    ]


def _of_fields(measure: str, group: int, values: list[float]) -> dict[str, Any]:
    mean = sum(values) / len(values)
    return {"measure": measure, "group": group, "level": None, "value": mean, "fields": values}
