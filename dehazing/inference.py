"""The loops of Eq. 17-23: one function per variant, the same signature, siblings that can be compared line by line.

Each starts at z_T = E(x_T) (Eq. 17) and returns the whole trajectory: at every t = T … 1 the latent z_t that it stood
at and the prediction z0_hat that it made there. At t = 1 the prediction is decoded (Eq. 20); G to level 0 is never
called. A latent is a tuple of groups; an image is the latent of one group (x,), so the same loops run in pixels, with
Eq. 2 or a degrader learned in pixels between the steps.

What a latent is, the loops never look: they hand it to the operators and combinations of `Networks`. So the same
functions run on tensors and on the symbols that `dehazing.sweep` shares between configurations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dehazing import schedules

Latent = tuple[Tensor, ...]


def lerp(start: Latent, end: Latent, weight: float) -> Latent:
    """(1 - weight) start + weight end."""
    return tuple(torch.lerp(a, b, weight) for a, b in zip(start, end, strict=True))


def exchange(z: Latent, leaving: Latent, entering: Latent) -> Latent:
    """z - leaving + entering."""
    return tuple(a - b + c for a, b, c in zip(z, leaving, entering, strict=True))


def no_moments(z: Latent, t: int) -> Latent:
    """What stands for `match` where no moments are known: refuses."""
    raise ValueError("`match` needs the moments of the training series at every level, but was given none.")


class Networks(NamedTuple):
    """The frozen operators of the loop, acting on a batch of latents, and the arithmetic between them."""

    R: Callable[[Latent, int], Latent]  # (z_t, t) → z0_hat
    G: Callable[[Latent, int, Latent], Latent]  # (z0_hat, s, z_t) → z_s; a blind G ignores z_t, an anchor is bound
    P: Callable[[Latent], Latent]  # E∘Dec, the projection through the HVAE
    lerp: Callable[[Latent, Latent, float], Latent] = lerp
    exchange: Callable[[Latent, Latent, Latent], Latent] = exchange
    match: Callable[[Latent, int], Latent] = no_moments  # (z, t) → z with the moments of level t; z_T is bound


@dataclass(frozen=True)
class Settings:
    """What one configuration chooses; schedules are indexed by t = 0 … T."""

    T: int
    combine_alpha: Sequence[float] = ()  # of Eq. 22-23, for the combinations
    num_refinements: int = 0
    haze_alpha: Sequence[float] = ()  # of Eq. 2, fitted on the training series, for the bridge and the InDI step
    reference: str = "previous"  # the combinations' other end: the previous latent, or the first (T)
    refine_level: str = "same"  # the level that refinements of R tell the restorer: same (t) or lowest (1)
    match: str = "none"  # what R sees below T: z_t as it is (none, the source's form), or at level t's moments

    def __post_init__(self) -> None:
        if self.T < 1:
            raise ValueError(f"`T >= 1` must hold for a loop, but got T = {self.T}.")
        for name in ("combine_alpha", "haze_alpha"):
            num = len(getattr(self, name))
            if num not in (0, self.T + 1):
                raise ValueError(f"`{name}` must have an entry for each level 0 … {self.T}, but has {num}.")


class Trajectory(NamedTuple):
    """z[k] and z0_hat[k] belong to t = T - k, k = 0 … T - 1."""

    z: list[Latent]
    z0_hat: list[Latent]


def direct(z_T: Latent, networks: Networks, settings: Settings) -> Trajectory:
    """R and G in turn (Eq. 17-20)."""
    trajectory, z_t = Trajectory([], []), z_T
    for t in range(settings.T, 0, -1):
        z0_hat = networks.R(z_t, t)  # Eq. 18
        _record(trajectory, z_t, z0_hat)
        if t > 1:
            z_t = _arrived(networks.G(z0_hat, t - 1, z_t), t - 1, networks, settings)  # Eq. 19
    return trajectory


def combine_z(z_T: Latent, networks: Networks, settings: Settings) -> Trajectory:
    """The next latent combined with the previous (or the first) one (Eq. 21-22)."""
    trajectory, z_t = Trajectory([], []), z_T
    for t in range(settings.T, 0, -1):
        z0_hat = networks.R(z_t, t)
        _record(trajectory, z_t, z0_hat)
        if t > 1:
            z_tilde = networks.G(z0_hat, t - 1, z_t)  # Eq. 21
            z_t = networks.lerp(_reference(settings, z_t, z_T), z_tilde, settings.combine_alpha[t])  # Eq. 22
            z_t = _arrived(z_t, t - 1, networks, settings)
    return trajectory


def combine_z0(z_T: Latent, networks: Networks, settings: Settings) -> Trajectory:
    """The restored latent combined with the previous (or the first) restored one (Eq. 21, 23)."""
    z0_hat = z0_first = networks.R(z_T, settings.T)
    trajectory, z_t = Trajectory([z_T], [z0_hat]), z_T
    for t in range(settings.T, 1, -1):
        z_t = _arrived(networks.G(z0_hat, t - 1, z_t), t - 1, networks, settings)  # Eq. 21
        reference = _reference(settings, z0_hat, z0_first)
        z0_hat = networks.lerp(reference, networks.R(z_t, t - 1), settings.combine_alpha[t])  # Eq. 23
        _record(trajectory, z_t, z0_hat)
    return trajectory


def combine_both(z_T: Latent, networks: Networks, settings: Settings) -> Trajectory:
    """Eq. 22 and Eq. 23 together."""
    z0_hat = z0_first = networks.R(z_T, settings.T)
    trajectory, z_t = Trajectory([z_T], [z0_hat]), z_T
    for t in range(settings.T, 1, -1):
        z_tilde = networks.G(z0_hat, t - 1, z_t)
        z_t = networks.lerp(_reference(settings, z_t, z_T), z_tilde, settings.combine_alpha[t])  # Eq. 22
        z_t = _arrived(z_t, t - 1, networks, settings)
        reference = _reference(settings, z0_hat, z0_first)
        z0_hat = networks.lerp(reference, networks.R(z_t, t - 1), settings.combine_alpha[t])  # Eq. 23
        _record(trajectory, z_t, z0_hat)
    return trajectory


def refine_G(z_T: Latent, networks: Networks, settings: Settings) -> Trajectory:
    """K times after each G: project through the HVAE, restore, degrade again. K = 0 is `direct`."""
    trajectory, z_t = Trajectory([], []), z_T
    for t in range(settings.T, 0, -1):
        z0_hat = networks.R(z_t, t)
        _record(trajectory, z_t, z0_hat)
        if t > 1:
            z_next = _refined_by_G(networks.G(z0_hat, t - 1, z_t), z_t, t, networks, settings)
            z_t = _arrived(z_next, t - 1, networks, settings)
    return trajectory


def refine_R(z_T: Latent, networks: Networks, settings: Settings) -> Trajectory:
    """K times after each R: project the prediction through the HVAE and restore it again. K = 0 is `direct`."""
    trajectory, z_t = Trajectory([], []), z_T
    for t in range(settings.T, 0, -1):
        z0_hat = _refined_by_R(networks.R(z_t, t), t, networks, settings)
        _record(trajectory, z_t, z0_hat)
        if t > 1:
            z_t = _arrived(networks.G(z0_hat, t - 1, z_t), t - 1, networks, settings)
    return trajectory


def refine_both(z_T: Latent, networks: Networks, settings: Settings) -> Trajectory:
    """The refinements of R, then those of G. K = 0 is `direct`."""
    trajectory, z_t = Trajectory([], []), z_T
    for t in range(settings.T, 0, -1):
        z0_hat = _refined_by_R(networks.R(z_t, t), t, networks, settings)
        _record(trajectory, z_t, z0_hat)
        if t > 1:
            z_next = _refined_by_G(networks.G(z0_hat, t - 1, z_t), z_t, t, networks, settings)
            z_t = _arrived(z_next, t - 1, networks, settings)
    return trajectory


def residual(z_T: Latent, networks: Networks, settings: Settings) -> Trajectory:
    """z_{t-1} = z_t - G(z0_hat, t) + G(z0_hat, t-1), which cancels R's first-order errors (Cold Diffusion, Alg. 2)."""
    trajectory, z_t, z_above = Trajectory([], []), z_T, z_T  # z_above: the latent that G to level t starts from
    for t in range(settings.T, 0, -1):
        z0_hat = networks.R(z_t, t)
        _record(trajectory, z_t, z0_hat)
        if t > 1:
            here, there = networks.G(z0_hat, t, z_above), networks.G(z0_hat, t - 1, z_t)
            z_above = z_t
            z_t = _arrived(networks.exchange(z_t, here, there), t - 1, networks, settings)
    return trajectory


def bridge(z_T: Latent, networks: Networks, settings: Settings) -> Trajectory:
    """A degrader without training: Eq. 2 between the prediction and the observation, with the fitted haze_alpha."""
    trajectory, z_t = Trajectory([], []), z_T
    for t in range(settings.T, 0, -1):
        z0_hat = networks.R(z_t, t)
        _record(trajectory, z_t, z0_hat)
        if t > 1:
            z_t = networks.lerp(z0_hat, z_T, settings.haze_alpha[t - 1])  # Eq. 2
            z_t = _arrived(z_t, t - 1, networks, settings)
    return trajectory


def indi(z_T: Latent, networks: Networks, settings: Settings) -> Trajectory:
    """Without training: z_t moves towards its prediction, by the share of its haze that a level less takes away.

    z_{t-1} = (alpha_{t-1} / alpha_t) z_t + (1 - alpha_{t-1} / alpha_t) z0_hat with the fitted haze_alpha, the step of
    InDI (Delbracio and Milanfar 2023) along Eq. 2. Unlike the bridge it goes on from where it stands, not from z_T.
    """
    trajectory, z_t, left = Trajectory([], []), z_T, schedules.remaining(settings.haze_alpha)
    for t in range(settings.T, 0, -1):
        z0_hat = networks.R(z_t, t)
        _record(trajectory, z_t, z0_hat)
        if t > 1:
            z_t = _arrived(networks.lerp(z0_hat, z_t, left[t]), t - 1, networks, settings)
    return trajectory


def identity(z_T: Latent, networks: Networks, settings: Settings) -> Trajectory:
    """Control: the latent stays where it is, and only the level that R is told goes down."""
    below = range(settings.T - 1, 0, -1)
    z = [z_T, *(_arrived(z_T, t, networks, settings) for t in below)]
    return Trajectory(z, [networks.R(z_t, settings.T - k) for k, z_t in enumerate(z)])


def stop(z_T: Latent, networks: Networks, settings: Settings) -> Trajectory:
    """Control: one step at T, kept for all that follow."""
    z0_hat = networks.R(z_T, settings.T)
    return Trajectory([z_T] * settings.T, [z0_hat] * settings.T)


VARIANTS: dict[str, Callable[[Latent, Networks, Settings], Trajectory]] = {
    "direct": direct,
    "combine_z": combine_z,
    "combine_z0": combine_z0,
    "combine_both": combine_both,
    "refine_G": refine_G,
    "refine_R": refine_R,
    "refine_both": refine_both,
    "residual": residual,
    "bridge": bridge,
    "indi": indi,
    "identity": identity,
    "stop": stop,
}
COMBINATIONS = ("combine_z", "combine_z0", "combine_both")  # these use combine_alpha and reference
REFINEMENTS = ("refine_G", "refine_R", "refine_both")  # these use num_refinements
WITHOUT_G = ("bridge", "indi", "identity", "stop")  # these call no degrader
REFERENCES = ("previous", "first")
REFINE_LEVELS = ("same", "lowest")
# As it is (the source's form); at the moments of the training series; at those that the field's own z_T lets expect.
MATCHES = ("none", "moments", "moments_of_field")


def _refined_by_R(z0_hat: Latent, t: int, networks: Networks, settings: Settings) -> Latent:
    level = t if settings.refine_level == "same" else 1
    for _ in range(settings.num_refinements):
        z0_hat = networks.R(networks.P(z0_hat), level)
    return z0_hat


def _refined_by_G(z: Latent, z_t: Latent, t: int, networks: Networks, settings: Settings) -> Latent:
    for _ in range(settings.num_refinements):
        z = _arrived(networks.P(z), t - 1, networks, settings)
        z = networks.G(networks.R(z, t - 1), t - 1, z_t)
    return z


def _arrived(z: Latent, t: int, networks: Networks, settings: Settings) -> Latent:
    """A latent that the loop takes as z_t to R: as it is, or brought to the moments of level t."""
    return z if settings.match == "none" else networks.match(z, t)


def _reference(settings: Settings, previous: Latent, first: Latent) -> Latent:
    return first if settings.reference == "first" else previous


def _record(trajectory: Trajectory, z_t: Latent, z0_hat: Latent) -> None:
    trajectory.z.append(z_t)
    trajectory.z0_hat.append(z0_hat)
