"""What predictions are scored against; whatever of it a score needs is computed once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from torch import Tensor

Made = TypeVar("Made")


class NotApplicable(ValueError):
    """A metric that says nothing about these images: too small, constant, without the truth it needs."""


class Reference:
    """References (N, Y, X) and what is derived from them.

    is_truth: these are noise-free images that the simulator knows, not acquired frames.
    """

    def __init__(self, reference: Tensor, is_truth: bool = True):
        self.images, self.is_truth = images_of(reference), is_truth
        self._made: dict[Hashable, Any] = {}

    def __len__(self) -> int:
        return len(self.images)

    def once(self, what: Hashable, make: Callable[[Tensor], Made]) -> Made:
        """`make` of the images (N, Y, X) float64, computed at the first call that asks for `what`."""
        if what not in self._made:
            self._made[what] = make(self.images)
        return self._made[what]

    def fields(self) -> list[Reference]:
        """A Reference of every single field."""
        return self.once("fields", lambda images: [Reference(one[None], self.is_truth) for one in images])


def images_of(images: Tensor) -> Tensor:
    """(N, 1, Y, X) or (N, Y, X) as (N, Y, X) float64."""
    if images.ndim == 4 and images.shape[1] == 1:
        images = images[:, 0]
    if images.ndim != 3:
        raise ValueError(f"Images must be (N, Y, X) or (N, 1, Y, X), but have shape {tuple(images.shape)}.")
    return images.detach().double()


def reference_of(reference: Tensor | Reference) -> Reference:
    """A tensor as a Reference, which forgets what was computed when it goes."""
    return reference if isinstance(reference, Reference) else Reference(reference)


def pair(prediction: Tensor, reference: Tensor | Reference) -> tuple[Tensor, Reference]:
    """Both as float64 (N, Y, X); ValueError where their shapes differ."""
    prediction, held = images_of(prediction), reference_of(reference)
    if prediction.shape != held.images.shape:
        raise ValueError(
            "Prediction and reference must have the same shape, "
            f"but have {tuple(prediction.shape)} and {tuple(held.images.shape)}."
        )
    return prediction, held


def extremes(reference: Reference) -> tuple[Tensor, Tensor]:
    """The darkest and the brightest pixel of each reference, (N,) each."""
    return reference.once("extremes", lambda images: (images.amin(dim=(1, 2)), images.amax(dim=(1, 2))))


def applicable(
    metric: str, prediction: Tensor, reference: Tensor | Reference, smallest_px: int = 1, needs_truth: bool = False
) -> tuple[Tensor, Reference]:
    """`pair`, or NotApplicable where the metric, by its name in a sentence, says nothing about it."""
    prediction, held = pair(prediction, reference)
    size = tuple(held.images.shape[1:])
    if min(size) < smallest_px:
        raise NotApplicable(f"{metric} needs images of at least {smallest_px} px a side, but these are {size}.")
    if needs_truth and not held.is_truth:
        raise NotApplicable(
            f"{metric} needs the noise-free truth of a simulated series, but the reference is an acquired frame."
        )
    lowest, highest = extremes(held)
    if not (lowest < highest).all():
        constant = float(lowest[~(lowest < highest)][0])
        raise NotApplicable(f"{metric} needs a reference that varies, but one is {constant:g} everywhere.")
    if not prediction.isfinite().all():
        raise NotApplicable(f"{metric} needs finite predictions, but one holds NaN or infinity.")
    return prediction, held
