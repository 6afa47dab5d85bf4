"""How much of a level can be known from x_0 alone, with the level above it, and with x_T: as images and as latents."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from dehazing.data.latents import encode_series
from dehazing.models.blocks import pad_to_multiple
from dehazing.stages.regressor import Training, explained_by_level
from dehazing.stages.space import PIXEL_CHANNELS, PIXEL_STRIDE


def knowable(x: Tensor, x_train: Tensor, hvae: Any, training: Training) -> dict[str, dict[str, list[float]]]:
    """pixels | latents → what `explained_by_level` finds of it.

    x, x_train: (N, T + 1, Y, X) of the fields that are scored and of those that maps are fitted on, N of their own,
    noise-free where such are known. training: its crop is that of the latents; in pixels it is as large a patch.
    """
    x, x_train = (pad_to_multiple(images, PIXEL_STRIDE) for images in (x, x_train))
    patch = replace(training, crop=training.crop * 2 ** len(hvae.latent_channels))
    latents, latents_train = (encode_series(hvae.encode, images) for images in (x, x_train))
    return {
        "pixels": explained_by_level((x_train[:, :, None],), (x[:, :, None],), PIXEL_CHANNELS, patch),
        "latents": explained_by_level(latents_train, latents, hvae.latent_channels, training),
    }
