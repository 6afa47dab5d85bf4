"""A trained regressor z_0 → z_s: how much of the haze any G of this form can know, beside the linear bounds.

From z_0 alone, and from z_0 with what a G may be anchored on: the level above, z_t with t = s + 1, or z_T.

It is what G would be if nothing but the square error to the pair counted, with the true z_0 in place of R's: no
discriminator, no cycle, no drift. What it leaves unexplained is not in its inputs, or not to be had with so much data
and training; so the share that it explains is a lower bound of what can be known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dehazing import losses, schedules
from dehazing.data.latents import Latent, at_level, crop_latents
from dehazing.degradation import degrade
from dehazing.linear_bounds import explained, fit_filters, fit_gains
from dehazing.models.degrader import Operator
from dehazing.stages.bounds import require
from dehazing.stages.descent import Descent

ANCHORED = {"none": "z_0", "z_t": "z_0 and z_t", "z_T": "z_0 and z_T"}  # what G may be anchored on → what it then sees


@dataclass(frozen=True)
class Training:
    """How the regressor is trained; with no step at all there is none, and the linear maps stand alone."""

    width: int = 32
    num_steps: int = 600
    batch_size: int = 8
    crop: int = 4  # side of a crop in the coarsest group
    lr: float = 2e-3
    seed: int = 0

    def __post_init__(self) -> None:
        require(self, positive=("width", "batch_size", "crop", "lr"), not_negative=("num_steps",))


def train_regressor(z: Latent, seen: Latent, channels: Sequence[int], anchor: str, training: Training) -> Operator:
    """G(z_0, s), or G(z_0, s, anchor), trained on true latents (N, T + 1, C_i, h_i, w_i) for every s = 1 … T - 1.

    z: the targets. seen: where z_0 and the anchor are taken from, the same or as they were acquired. anchor: none |
    z_T | z_t.
    """
    T = z[0].shape[1] - 1
    network = Operator(channels, training.width, T, shared=True, anchored=anchor != "none").to(z[0].device)
    for s in range(1, T):
        network.fit_linear(at_level(seen, 0), s, _anchor(seen, s, anchor), at_level(z, s))
    descent = Descent(network, training.lr, training.num_steps, training.seed, ema_decay=0.99)
    for step in range(training.num_steps):
        aim, crops = crop_latents([z, seen], training.batch_size, training.crop, descent.generator)
        s = 1 + step % (T - 1)
        made = descent.module(at_level(crops, 0), s, _anchor(crops, s, anchor))
        descent.step(losses.restoration_latent(at_level(aim, s), made))
    descent.read()
    return descent.averaged


@torch.no_grad()
def explained_by_level(
    train: Latent,
    test: Latent,
    channels: Sequence[int],
    training: Training,
    seen_train: Latent | None = None,
    seen_test: Latent | None = None,
) -> dict[str, list[float]]:
    """Way of predicting z_s → share of its variance over the test fields that is explained, for s = 1 … T - 1.

    train, test: true latents, (N, T + 1, C_i, h_i, w_i). seen_train, seen_test: the same fields as they were acquired,
    where what is seen is to be taken from those; what a level's noise alone makes is then no target. `alpha` is Eq. 2
    with the schedule that fits the training fields best, which is in the first row; `gains` and `filters` are the best
    linear maps; `trained` is the regressor. z_t is the level above, t = s + 1.
    """
    T = train[0].shape[1] - 1
    if T < 2:
        raise ValueError(f"There must be a level between the first and the last, `T >= 2`, but got {T=}.")
    seen_train, seen_test = seen_train or train, seen_test or test
    haze_alpha = schedules.fitted(torch.cat([group.flatten(2) for group in train], 2))
    trained: dict[str, Operator] = {}
    for anchor in ANCHORED if training.num_steps else ():
        with torch.enable_grad():
            trained[anchor] = train_regressor(train, seen_train, channels, anchor, training)
    z_0, z_T = at_level(seen_test, 0), at_level(seen_test, T)
    result: dict[str, list[float]] = {"haze_alpha": [float(one) for one in haze_alpha[1:T]]}

    def add(name: str, predicted: Latent, s: int) -> None:
        result.setdefault(name, []).append(explained(predicted, at_level(test, s)))

    for s in range(1, T):
        for anchor, what in ANCHORED.items():
            levels = {"none": (0,), "z_t": (0, s + 1), "z_T": (0, T)}[anchor]
            for name, fit in (("gains", fit_gains), ("filters", fit_filters)):
                predict = fit([at_level(seen_train, t) for t in levels], at_level(train, s))
                add(f"{name} of {what}", predict([at_level(seen_test, t) for t in levels]), s)
            if anchor in trained:
                add(f"trained on {what}", _one_by_one(trained[anchor], s, z_0, _anchor(seen_test, s, anchor)), s)
        add("alpha", tuple(degrade(a, b, float(haze_alpha[s])) for a, b in zip(z_0, z_T, strict=True)), s)
    return result


def _anchor(z: Latent, s: int, anchor: str) -> Latent | None:
    """Of a G to level s, from latents of all levels."""
    return None if anchor == "none" else at_level(z, {"z_t": s + 1, "z_T": z[0].shape[1] - 1}[anchor])


def _one_by_one(network: Operator, s: int, z_0: Latent, z_T: Latent | None = None) -> Latent:
    """Field by field, so that memory stays bounded."""
    made = []
    for i in range(len(z_0[0])):
        clean, anchor = (None if z is None else tuple(group[i : i + 1] for group in z) for z in (z_0, z_T))
        made.append(network(clean, s, anchor))
    return tuple(torch.cat(group) for group in zip(*made, strict=True))
