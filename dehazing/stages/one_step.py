"""What G has to beat in one step: leaving the latent as it is, and the linear bridge of Eq. 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dehazing import losses
from dehazing.data.latents import Latent, at_level
from dehazing.degradation import degrade

CONTROLS = ("leave", "bridge")


def controls_of_one_step(
    errors: Mapping[str, list[float]], z: Latent, haze_alpha: Tensor, domain: str
) -> list[dict[str, Any]]:
    """One record per operator and target level s = 1 … T - 1: mean square error against the true z_s.

    errors: of each degrader, for s = 1 … T. z: the true latents, a tuple of (N, T + 1, C_i, h_i, w_i). `leave` keeps
    z_{s+1}; `bridge` is Eq. 2 between the true z_0 and z_T with the fitted haze_alpha (T + 1,).
    """
    T = z[0].shape[1] - 1
    z_0, z_T = at_level(z, 0), at_level(z, T)
    records = []
    for s in range(1, T):
        z_s = at_level(z, s)
        bridged = tuple(degrade(a, b, haze_alpha[s]) for a, b in zip(z_0, z_T, strict=True))
        found = {name: values[s - 1] for name, values in errors.items()}
        found["leave"] = float(losses.restoration_latent(z_s, at_level(z, s + 1)))
        found["bridge"] = float(losses.restoration_latent(z_s, bridged))
        records += [{"degrader": name, "domain": domain, "level": s, "error": value} for name, value in found.items()]
    return records
