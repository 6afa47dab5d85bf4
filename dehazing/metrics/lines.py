"""Whether the lines of the truth are found in a prediction, and no others."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from dehazing.metrics.fidelity import best_gain
from dehazing.metrics.reference import NotApplicable, Reference, applicable

TOLERANCE_PX = 2.0
WIDTHS_PX = (1.5, 2.5)  # standard deviations of the lines that are looked for
PAD_PX = 16  # as far as the filter of the wider ones reaches
SMALLEST_PX = 16


def line_f1(prediction: Tensor, reference: Tensor | Reference, tolerance_px: float = TOLERANCE_PX) -> Tensor:
    """F1 of the centre lines of the prediction against those of the truth, (N,): 1 all and no others, 0 none.

    A pixel of a centre line counts as found where the other image has one within the tolerance. Lines are thinned
    ridges (Sato et al. 1998) above a threshold, midway between the means of what it leaves and takes in the truth; the
    prediction is given the best gain first, as in `psnr_ri`, and judged by the same threshold. NotApplicable below
    16 px a side, where the reference is constant, an acquired frame or without ridges.
    """
    prediction, held = applicable("Line F1", prediction, reference, SMALLEST_PX, needs_truth=True)
    truths = held.once("lines", lambda images: [_Lines(image.cpu().numpy()) for image in images])
    gained = best_gain(prediction, held).clamp(min=0) * prediction  # what is dark where lines should be shows none
    values = [truth.f1(image, tolerance_px) for truth, image in zip(truths, gained.cpu().numpy(), strict=True)]
    return torch.tensor(values, dtype=torch.float64, device=prediction.device)


class _Lines:
    """The centre lines of a truth (Y, X)."""

    def __init__(self, truth: NDArray[np.float64]):
        from skimage.filters import threshold_isodata

        ridges = _ridges(truth)
        if not ridges.max() > 1e-6 * (truth.max() - truth.min()):
            raise NotApplicable("Line F1 needs a truth that shows lines, but one has no ridge.")
        self.threshold = threshold_isodata(ridges)
        self.centres = _thinned(ridges > self.threshold)
        self.distance_px = distance_transform_edt(~self.centres)

    def f1(self, prediction: NDArray[np.float64], tolerance_px: float) -> float:
        centres = _thinned(_ridges(prediction) > self.threshold)
        if not centres.any():
            return 0.0
        precision = (self.distance_px[centres] <= tolerance_px).mean()
        recall = (distance_transform_edt(~centres)[self.centres] <= tolerance_px).mean()
        return float(2 * precision * recall / (precision + recall)) if precision + recall > 0 else 0.0


# scikit-image's filters are imported where they are called: only the confirmation does, and every process would wait
def _ridges(image: NDArray[np.float64]) -> NDArray[np.float64]:
    from skimage.filters import sato

    # continued beyond the border as it runs there: mirrored, a slope would make a ridge of the border
    continued = np.pad(image, PAD_PX, mode="reflect", reflect_type="odd")
    return sato(continued, sigmas=WIDTHS_PX, black_ridges=False)[PAD_PX:-PAD_PX, PAD_PX:-PAD_PX]


def _thinned(ridges: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from skimage.morphology import skeletonize

    return skeletonize(ridges)
