"""Whether the latent space can carry the loop: what each group is good for, and how far test latents lie outside.

Both for every level, on images that no network was trained on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dehazing import metrics
from dehazing.data.latents import Latent
from dehazing.models.hvae import HVAE

RANGE = (0.001, 0.999)  # quantiles of the training latents: a share of 0.002 lies outside where nothing is unusual


@torch.no_grad()
def latent_space(hvae: HVAE, images: Tensor, z: Latent, z_train: Latent) -> list[dict[str, Any]]:
    """One record per level t = 0 … T and group (1 the finest): `psnr`, `psnr_lost`, `outside`, means over the fields.

    images: (N, T + 1, Y, X), noise-free where such are known. z: their frames' latents, z_train: those of training
    fields, tuples of (N, T + 1, C_i, h_i, w_i).
    """
    shares = outside(z, z_train)
    records = []
    for level in range(images.shape[1]):
        whole, lost = use_of_groups(hvae, images[:, level])
        records += [
            {"level": level, "group": i + 1, "psnr": whole, "psnr_lost": lost[i], "outside": shares[level][i]}
            for i in range(len(z))
        ]
    return records


@torch.no_grad()
def use_of_groups(hvae: HVAE, x: Tensor) -> tuple[float, list[float]]:
    """PSNR of Dec(E(x)) against x (N, Y, X), and what of it is lost without each group, in dB, means over the images.

    Without a group: its latent is the mean of its prior given the coarser groups, and the finer ones are as encoded.
    A KL term says less: one that free nats hold up may belong to a group that the decoder does not read.
    """
    height, width = x.shape[-2:]
    whole, lost = [], []
    for one in x:  # field by field, so that memory stays bounded
        z = hvae.encode(one[None, None])
        scores = [
            float(metrics.psnr(hvae.decode(z, from_prior=without)[:, 0, :height, :width], one[None]))
            for without in ((), *((i,) for i in range(len(z))))
        ]
        whole.append(scores[0])
        lost.append([scores[0] - score for score in scores[1:]])
    return float(np.mean(whole)), np.mean(lost, axis=0).tolist()


def outside(z: Latent, z_train: Latent) -> list[list[float]]:
    """Share of z that lies outside the 0.1 to 99.9 % range of z_train, by level and group, finest first.

    The range is that of each channel at that level. Both are tuples of (N, T + 1, C_i, h_i, w_i), N of their own.
    """
    by_group = []
    for seen, trained in zip(z, z_train, strict=True):
        low, high = np.quantile(_samples(trained), RANGE, axis=-1, keepdims=True)  # (T + 1, C_i, 1) each
        values = _samples(seen)
        by_group.append(((values < low) | (values > high)).mean(axis=(1, 2)))
    return np.stack(by_group, axis=1).tolist()


def _samples(group: Tensor) -> np.ndarray:
    """(N, T + 1, C_i, h_i, w_i) as (T + 1, C_i, samples)."""
    return group.permute(1, 2, 0, 3, 4).flatten(2).float().cpu().numpy()
