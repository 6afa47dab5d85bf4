"""The objective that HVAE and HDN share; apart, so that neither depends on the other's code."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dehazing import losses


def elbo(network: Any, x_in: Tensor, x_out: Tensor, beta: float, free_nats: float) -> tuple[Tensor, Tensor]:
    """Eq. 9 for an input and what is to be explained, (N, 1, Y, X) each; the loss and its reconstruction term."""
    mean, gaussians = network(x_in)
    kls = [losses.kl_gaussian(*q, *p) for q, p in gaussians]
    rec = losses.reconstruction(x_out, mean, network.log_var.clamp(*network.log_var_range))
    return losses.hvae(rec, kls, x_in[0, 0].numel(), beta, free_nats), rec


def ramped(beta: float, num_done: int, num_steps: int, kl_ramp: float) -> float:
    """The weight of the KL terms at a step: risen evenly from 0 over the first share `kl_ramp` of them, then beta."""
    ramp = kl_ramp * num_steps
    return beta if num_done >= ramp else beta * num_done / ramp
