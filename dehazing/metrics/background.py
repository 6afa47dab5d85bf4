"""Light that a prediction leaves where the truth is dark."""

from __future__ import annotations

from torch import Tensor

from dehazing.metrics.fidelity import range
from dehazing.metrics.reference import Reference, applicable


def background_residue(prediction: Tensor, reference: Tensor | Reference) -> Tensor:
    """Mean of prediction - truth over the darker half of the truth, as a share of its range, (N,).

    Above 0 haze is left, below 0 too much was taken. Gain and offset are not forgiven. NotApplicable where the
    reference is constant or an acquired frame.
    """
    prediction, held = applicable("The background residue", prediction, reference, needs_truth=True)
    dark = held.once("dark", lambda images: images <= images.flatten(1).median(dim=1).values[:, None, None])
    excess = ((prediction - held.images) * dark).sum(dim=(1, 2)) / dark.sum(dim=(1, 2))
    return excess / range(held)
