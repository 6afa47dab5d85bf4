"""How far a latent has drifted from the true one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Latent = Sequence[Tensor]


def drift(z: Latent, reference: Latent) -> Tensor:
    """How far a latent is from the true one, (N,): ‖z - E(x)‖ / ‖E(x)‖ over all groups."""
    truth = _vectors(reference)
    return (_vectors(z) - truth).norm(dim=1) / truth.norm(dim=1)


def cosine(z: Latent, reference: Latent) -> Tensor:
    """Cosine between a latent and the true one over all groups, (N,): 1 is the right direction."""
    return torch.cosine_similarity(_vectors(z), _vectors(reference), dim=1)


def norm_ratio(z: Latent, reference: Latent) -> Tensor:
    """‖z‖ / ‖E(x)‖ over all groups, (N,): below 1 the loop shrinks towards the mean."""
    return _vectors(z).norm(dim=1) / _vectors(reference).norm(dim=1)


def _vectors(z: Latent) -> Tensor:
    """All groups of a latent as one vector per field, (N, D) float64."""
    return torch.cat([group.detach().double().flatten(1) for group in z], dim=1)
