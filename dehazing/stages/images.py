"""The images of a series as tensors on the device, and how a restoration of them is scored."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dehazing import metrics
from dehazing.data.patches import cut, draw_places
from dehazing.data.series import Series

CLEAN_TARGETS = ("frame", "truth")


class Images:
    """Normalised frames of the training and validation splits, resident on the device.

    clean_target: frame | truth, what networks are trained towards. Scores are against the truth where there is one.
    """

    def __init__(self, series: Series, clean_target: str, device: str):
        train, truth = series.x("train"), series.truth("train")
        if clean_target == "truth" and truth is None:
            raise ValueError("`clean_target: truth` needs a simulated series, but this one has acquired frames only.")
        self.T = series.T
        self.clean_target = clean_target
        self.train = torch.from_numpy(train).to(device)  # (N, T + 1, Y, X)
        target = train[:, :1] if truth is None or clean_target == "frame" else truth[:, :1]
        # the target rides along as one more level, so that both are cut and turned alike
        self.train_with_target = torch.from_numpy(np.concatenate([train, target], 1)).to(device)
        self.validation = torch.from_numpy(series.x("validation")).to(device)
        self.validation_reference = reference(series, "validation").to(device)  # (N, Y, X)
        self._scored_against = metrics.Reference(self.validation_reference, truth is not None)

    def score(self, x0_hat: Tensor) -> dict[str, float]:
        """Mean PSNR over the validation fields, as stated and range-invariant; x0_hat (N, Y, X)."""
        return {
            "val/psnr": float(metrics.psnr(x0_hat, self._scored_against).mean()),
            "val/psnr_ri": float(metrics.psnr_ri(x0_hat, self._scored_against).mean()),
        }


def reference(series: Series, split: str) -> Tensor:
    """What restorations of a split are scored against, (N, Y, X): the noise-free x_0, or the clean frame."""
    truth = series.truth(split)
    return torch.from_numpy((series.x(split) if truth is None else truth)[:, 0].copy())


def draw_pairs(
    images: Images, num: int, patch_px: int, share_at_T: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Training pairs of Eq. 3: x_t (num, 1, p, p), t (num,) and the clean x_0 (num, 1, p, p)."""
    places = draw_places(images.train_with_target, num, patch_px, generator)
    t = draw_levels(images.T, num, share_at_T, generator)
    target = torch.full_like(t, images.T + 1)
    patches = cut(images.train_with_target, places, patch_px, torch.stack([t, target], 1))
    return patches[:, :1], t, patches[:, 1:]


def draw_levels(T: int, num: int, share_at_T: float, generator: torch.Generator) -> Tensor:
    """Levels (num,), uniform over 1 … T, but for a share of them at T."""
    t = torch.randint(1, T + 1, (num,), generator=generator, device=generator.device)
    return t.masked_fill(torch.rand(num, generator=generator, device=generator.device) < share_at_T, T)
