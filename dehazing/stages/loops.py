"""The loops of one domain from one level, on the fields of a split: as symbols first, then computed and scored.

Loops from different levels begin with different latents, so they have nothing in common that could be shared: each
level has symbols of its own, and among those of one level every distinct prefix is computed once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dehazing import inference
from dehazing.data.latents import Latent, at_level
from dehazing.moments import matched
from dehazing.stages.configuration import Configuration
from dehazing.stages.fields import Fields
from dehazing.stages.loop_domain import LoopDomain
from dehazing.stages.scores import Columns, concatenated, measured_images, measured_latents
from dehazing.sweep import Operators, Sweep, Symbol, evaluate, stacked

# Pixels of the images behind what is held and computed together, so that memory stays bounded: on a CPU the fields of
# one trajectory at a time; on a GPU the fields of all trajectories, and those that go through a network together.
PIXELS_ON_CPU = 2**16
PIXELS_ON_GPU, PIXELS_AT_ONCE = 2**26, 2**22
# a prediction, fields (n,), their images (n, Y, X), their PSNR in dB
See = Callable[[Symbol, Tensor, Tensor, Sequence[float]], None]


class Walked(NamedTuple):
    """Trajectories of symbols, in the order of their configurations, and what their symbols score."""

    trajectories: list[Any]
    images: dict[Symbol, Columns]  # of Dec(z0_hat)
    latents: dict[tuple[Symbol, int], Columns]  # of z_t against the true latent of level t
    called: Counter[str]  # how often R, G and P were called, each on all fields


def walked(
    fields: Fields,
    domain: LoopDomain,
    start: int,
    configurations: Sequence[Configuration],
    degraders: Mapping[str, tuple[Any, str]],
    full: bool,
    see: See | None = None,
) -> Walked:
    """Runs every configuration from z_start = E(x_start) down to level 1.

    What is z_T in the loops' notation is z_start: anchors see it, and Eq. 2 and the moments are fitted on the levels
    up to it. degraders: role → (G, what it is anchored on). full: with the dear metrics. see: is shown every prediction
    that is scored, for some of the fields.
    """
    z, haze_alpha = fields.encoded(domain), fields.haze_alpha(domain, start=start).tolist()
    trajectories = _trajectories(configurations, degraders, start, haze_alpha)
    levels: dict[Any, set[int]] = defaultdict(set)  # that a z_t stands at
    z0_hats: dict[Any, None] = {}
    for trajectory in trajectories:
        z0_hats |= dict.fromkeys(trajectory.z0_hat)
        for k, z_t in enumerate(trajectory.z):
            levels[z_t].add(start - k)
    wanted = list(dict.fromkeys([*z0_hats, *levels]))
    num_fields, at_once = _bounds(fields.x, len(trajectories))
    of_images: dict[Symbol, list[Columns]] = defaultdict(list)
    of_latents: dict[tuple[Symbol, int], list[Columns]] = defaultdict(list)

    def visit(latents: dict[Symbol, Latent]) -> None:
        predicted = [symbol for symbol in latents if symbol in z0_hats]
        if predicted:
            images = fields.images(domain, stacked([latents[symbol] for symbol in predicted]))
            for symbol, image in zip(predicted, images.chunk(len(predicted)), strict=True):
                of_images[symbol].append(measured_images(image, reference, full))
                if see is not None:
                    see(symbol, chunk, image, of_images[symbol][-1]["psnr"])
        for symbol, latent in latents.items():
            for level in levels.get(symbol, ()):
                truth = at_level(tuple(group[chunk] for group in z), level)
                of_latents[symbol, level].append(measured_latents(latent, truth))

    def P(z: Latent) -> Latent:
        return domain.E(fields.images(domain, z)[:, None])

    def match(z: Latent, t: int, z_T: Latent | None = None) -> Latent:
        return matched(z, t, fields.moments(domain, start=start), z_T)

    operators = Operators(domain.R, {role: G for role, (G, _) in degraders.items()}, P, match)
    called: Counter[str] = Counter()
    for chunk in torch.arange(len(fields.x)).split(num_fields):
        z_start, reference = tuple(group[chunk, start] for group in z), fields.scored_against(chunk)
        called = evaluate(wanted, z_start, operators, visit, at_once)
    return Walked(
        trajectories,
        {symbol: concatenated(parts) for symbol, parts in of_images.items()},
        {place: concatenated(parts) for place, parts in of_latents.items()},
        called,
    )


def _trajectories(
    configurations: Sequence[Configuration],
    degraders: Mapping[str, tuple[Any, str]],
    start: int,
    haze_alpha: Sequence[float],
) -> list[Any]:
    """The loops run on the symbols of one sweep."""
    sweep, trajectories = Sweep(), []
    for one in configurations:
        anchor = degraders[one.degrader][1] if one.has_G else "none"
        networks = sweep.networks(one.degrader, anchor, one.match)
        trajectories.append(inference.VARIANTS[one.variant](sweep.z_T, networks, one.settings(start, haze_alpha)))
    return trajectories


def _bounds(x: Tensor, num_trajectories: int) -> tuple[int, int]:
    """How many fields of x (N, T + 1, Y, X) are evaluated at a time, and how many latents share a call of a network.

    On a CPU neither depends on what else is evaluated, so that a configuration gives the same in any batch.
    """
    num_pixels = x[0, 0].numel()
    if not x.is_cuda:
        return max(1, PIXELS_ON_CPU // num_pixels), 1
    num_fields = min(len(x), max(1, PIXELS_ON_GPU // (num_pixels * num_trajectories)))
    return num_fields, max(1, PIXELS_AT_ONCE // (num_pixels * num_fields))
