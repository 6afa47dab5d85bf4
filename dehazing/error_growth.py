"""How errors grow in a loop: what one step makes of a small one, and how far the loop's latents leave the manifold.

The errors themselves, on the loop's own latents (free-running) and on the true ones (teacher-forced), are measured
beside them, so that what R makes of a wrong input is told from what it does not know.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dehazing import metrics
from dehazing.attribution import Latent, Substitution

Columns = dict[str, Tensor]


def growth(
    substitution: Substitution,
    P: Callable[[Latent], Latent],
    measure: Callable[[Latent], Tensor],
    directions: Callable[[int], Latent],
    size: float,
) -> dict[int, Columns]:
    """Level t = T … 1 → columns of one number per field, (N,).

    P: E∘Dec. measure: z0_hat → its square error above the ceiling. directions: t → random perturbations of z_t. size:
    of a perturbation, relative to z_t.

    | column | what |
    |---|---|
    | `free`, `forced` | error of the prediction at level t: the loop's own, and R's on the true z_t |
    | `drift_free` | how far the loop's z_t is from the true one, relative |
    | `latent_free`, `latent_forced` | how far z0_hat is from the true z_0, relative: the loop's own, and R's on z_t |
    | `gain_R_random`, `gain_R_error` | ‖δz0_hat‖ / ‖δz_t‖ of R at the true z_t, the loop's own error or chance its δ |
    | `gain_step_random`, `gain_step_error` | ‖δz_{t-1}‖ / ‖δz_t‖ of R and then G (no column at t = 1, nor without G) |
    | `manifold_free`, `manifold_true` | ‖P(z_t) - z_t‖ / ‖z_t‖ of the loop's latent, and of the true one |
    | `manifold_prediction` | the same of the prediction z0_hat |

    A gain in the direction of the loop's error is NaN where the loop has made none yet.
    """
    loop, true = substitution.loop, substitution.true
    T = loop.settings.T
    has_G = any(module == "G" for module, _ in substitution.players)
    free, found = substitution.run(), {}
    for k, (z_t, z0_hat) in enumerate(zip(free.z, free.z0_hat, strict=True)):
        t = T - k
        forced = loop.R(true[t], t)
        columns = {
            "free": measure(z0_hat),
            "forced": measure(forced),
            "drift_free": metrics.drift(z_t, true[t]),
            "latent_free": metrics.drift(z0_hat, true[0]),
            "latent_forced": metrics.drift(forced, true[0]),
            "manifold_free": metrics.drift(P(z_t), z_t),
            "manifold_true": metrics.drift(P(true[t]), true[t]),
            "manifold_prediction": metrics.drift(P(z0_hat), z0_hat),
        }
        off = tuple(a - b for a, b in zip(z_t, true[t], strict=True))
        for name, direction in (("random", directions(t)), ("error", off)):
            moved = perturbed(true[t], direction, size)
            restored = loop.R(moved, t)
            columns[f"gain_R_{name}"] = amplification((true[t], moved), (forced, restored))
            if has_G and t > 1:
                anchors = {"none": (None, None), "z_T": (true[T], true[T]), "z_t": (true[t], moved)}[loop.anchor]
                steps = [loop.G(z, t - 1, anchor) for z, anchor in zip((forced, restored), anchors, strict=True)]
                columns[f"gain_step_{name}"] = amplification((true[t], moved), (steps[0], steps[1]))
        found[t] = columns
    return found


def perturbed(z: Latent, direction: Latent, size: float) -> Latent:
    """z and a step of size · ‖z‖ along the direction, field by field; norms are over all groups."""
    scale = size * _norms(z) / _norms(direction)  # inf, then NaN, where there is no direction
    return tuple(
        group + scale.to(group.dtype)[:, None, None, None] * along for group, along in zip(z, direction, strict=True)
    )


def amplification(before: tuple[Latent, Latent], after: tuple[Latent, Latent]) -> Tensor:
    """‖difference after‖ / ‖difference before‖, (N,), of two latents each."""
    return _apart(*after) / _apart(*before)


def random_directions(z: Latent, seeds: list[int]) -> Latent:
    """Gaussian noise of the shape of z, each field's from its own seed, so that chunks of fields change nothing."""
    drawn = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        drawn.append([torch.randn(group.shape[1:], generator=generator) for group in z])
    return tuple(torch.stack(parts).to(z[0]) for parts in zip(*drawn, strict=True))


def _apart(first: Latent, other: Latent) -> Tensor:
    return _norms(tuple(a - b for a, b in zip(first, other, strict=True)))


def _norms(z: Latent) -> Tensor:
    """(N,) float64."""
    return torch.cat([group.double().flatten(1) for group in z], 1).norm(dim=1)
