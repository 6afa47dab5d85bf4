"""What both sides read: normalised images in a folder, and the same training batch at the same step of a seed.

Here are numpy and torch alone, as this is imported in an environment that has nothing of ours.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

SPLITS = ("validation", "test")


class Draws(NamedTuple):
    """Which field, place, turn, mirroring and level each patch of each step has, (num_steps, batch) each."""

    field: np.ndarray
    y: np.ndarray
    x: np.ndarray
    turns: np.ndarray
    mirrored: np.ndarray
    level: np.ndarray


def draw(
    num_steps: int,
    batch: int,
    shape: tuple[int, int, int],
    patch_px: int,
    T: int,
    share_at_T: float,
    seed: int,
) -> Draws:
    """The draws of a seed for fields of a shape (N, Y, X): levels uniform over 1 … T, beside a share at T."""
    rng = np.random.default_rng(seed)
    highest = (shape[0], shape[1] - patch_px + 1, shape[2] - patch_px + 1, 4, 2)
    field, y, x, turns, mirrored = (rng.integers(high, size=(num_steps, batch)) for high in highest)
    level = rng.integers(1, T + 1, size=(num_steps, batch))
    level[rng.random((num_steps, batch)) < share_at_T] = T
    return Draws(field, y, x, turns, mirrored, level)


def write(folder: Path, images: dict[str, np.ndarray], settings: dict[str, Any]) -> None:
    """Put the images and what belongs to them (`T`, `patch_px`) into a folder.

    images: `train` (N, T + 2, Y, X), levels 0 … T and then the clean target; `validation` and `test` (N, T + 1, Y, X).
    """
    for name, values in images.items():
        np.save(folder / f"{name}.npy", np.ascontiguousarray(values, np.float32))
    (folder / "settings.json").write_text(json.dumps(settings))


def write_draws(folder: Path, seed: int, draws: Draws) -> None:
    """Put the draws of a seed beside the images."""
    np.save(folder / f"draws_{seed}.npy", np.stack(draws).astype(np.int32))


class Batches:
    """The batches of a seed, from a folder that `write` and `write_draws` filled."""

    def __init__(self, folder: Path, seed: int):
        settings = json.loads((folder / "settings.json").read_text())
        self.T: int = settings["T"]
        self.patch_px: int = settings["patch_px"]
        self.train = torch.from_numpy(np.load(folder / "train.npy"))
        self.draws = Draws(*np.load(folder / f"draws_{seed}.npy").astype(int))

    def __call__(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """x_t (B, 1, p, p), t (B,) and the clean x_0 (B, 1, p, p) of a step, as its draws say."""
        hazy, clean = [], []
        for field, y, x, turns, mirrored, level in zip(*(column[step] for column in self.draws), strict=True):
            place = (slice(y, y + self.patch_px), slice(x, x + self.patch_px))
            patch = self.train[field][[level, -1]][:, *place]
            patch = torch.rot90(patch, int(turns), (-2, -1))
            patch = patch.flip(-1) if mirrored else patch
            hazy.append(patch[:1])
            clean.append(patch[1:])
        return torch.stack(hazy), torch.from_numpy(self.draws.level[step]), torch.stack(clean)


def images(folder: Path, split: str) -> Tensor:
    """Normalised frames of a split, (N, T + 1, Y, X)."""
    return torch.from_numpy(np.load(folder / f"{split}.npy"))
