"""Which level of a series an image is most like: a Gaussian of a few statistics for each level, one covariance for all.

The statistics are those of tiles as large as the training fields allow: how power is shared between octaves of spatial
frequency, how the intensities are distributed about their mean, and, unless another gain is to be allowed for, how
bright and how varied the tile is. Every tile of an image has a vote, as a held-out training tile would; how often such
a vote is right is measured on the training fields, each left out in turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

OCTAVES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)  # ends of the bands, cycles per px
QUANTILES = (0.05, 0.5, 0.95)
LARGEST_PX, SMALLEST_PX = 128, 32  # side of a tile
ENOUGH = 8  # tiles of each level; smaller ones are cut where there are fewer
NUM_FOLDS = 10
MAX_TILES = 64  # of an image that vote
TEMPERATURES = np.geomspace(0.5, 64, 43)
FAR = 3.0  # times as far from its level as 99 % of the training tiles are is like none


class Estimate(NamedTuple):
    """What an image is most like."""

    level: int
    probabilities: tuple[float, ...]  # of the levels 0 … T, the mean of the tiles' votes
    is_like_training: bool  # whether the training fields hold anything like it, at that level


@dataclass(frozen=True)
class LevelEstimator:
    """Fitted on training frames by `fit`."""

    side_px: int
    with_intensities: bool
    means: np.ndarray  # (T + 1, K) of the statistics
    whitening: np.ndarray  # (K, K), from statistics to units of the common spread
    far: float  # squared distance to their own level that 99 % of the training tiles keep below
    share_right: float  # of the tiles of training fields that were left out
    temperature: float = 1.0  # that their votes are cooled by, to be as sure as they are right

    def __call__(self, planes: Iterable[np.ndarray]) -> Estimate:
        """The level of planes (Y, X) of one setting; ValueError where they are smaller than a tile."""
        tiles = _told_apart([tile for plane in planes for tile in _tiles(plane, self.side_px)])
        if not len(tiles):
            raise ValueError(f"An image must be at least {self.side_px} px wide for its level to be estimated.")
        distances = self.distances(np.stack([statistics(tile, self.with_intensities) for tile in tiles]))
        probabilities = _votes(distances / self.temperature).mean(0)
        level = int(probabilities.argmax())
        return Estimate(level, tuple(map(float, probabilities)), bool(np.median(distances[:, level]) <= FAR * self.far))

    def distances(self, seen: np.ndarray) -> np.ndarray:
        """Squared distances (N, T + 1) of statistics (N, K) to the levels' means."""
        return (((seen[:, None] - self.means) @ self.whitening.T) ** 2).sum(-1)


def fit(fields: Sequence[np.ndarray], with_intensities: bool = True, largest_px: int = LARGEST_PX) -> LevelEstimator:
    """The estimator of training fields (T + 1, Y, X); largest_px: the side of the images that it will be asked about.

    ValueError where no tile fits, or there is but one of each level.
    """
    side = min(LARGEST_PX, largest_px, *(min(field.shape[1:]) for field in fields))
    while sum(len(_places(field.shape[1:], side)) for field in fields) < ENOUGH and side >= 2 * SMALLEST_PX:
        side //= 2
    if side < SMALLEST_PX:
        raise ValueError(f"An image must be at least {SMALLEST_PX} px wide for its level to be estimated.")
    seen, groups = [], []  # statistics (T + 1, K) of each place, and the field that it is of
    for number, field in enumerate(fields):
        for rows, columns in _places(field.shape[1:], side):
            seen.append([statistics(frame[rows, columns], with_intensities) for frame in field])
            groups.append(number)
    told = np.asarray(seen)  # (N, T + 1, K)
    if len(told) < 2:
        raise ValueError(
            f"A level is estimated from two training tiles of {side} px or more, but there is {len(told)}."
        )
    means, whitening = _fitted(told)
    whole = LevelEstimator(side, with_intensities, means, whitening, 0.0, 0.0)
    own = np.concatenate([whole.distances(told[:, level])[:, level] for level in range(told.shape[1])])
    distances, levels = _left_out(told, np.asarray(groups))
    share_right = float((distances.argmin(1) == levels).mean())
    far, temperature = float(np.quantile(own, 0.99)), _temperature(distances, levels)
    return LevelEstimator(side, with_intensities, means, whitening, far, share_right, temperature)


def statistics(tile: np.ndarray, with_intensities: bool) -> np.ndarray:
    """(K,) of a tile (Y, X): log power by octave, skewness, quantiles; with intensities log spread and mean."""
    tile = tile.astype(np.float64)
    mean, spread = tile.mean(), max(float(tile.std()), 1e-12)
    standard = (tile - mean) / spread
    window = np.outer(np.hanning(tile.shape[0]), np.hanning(tile.shape[1]))
    power = np.abs(np.fft.rfft2(standard * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(tile.shape[0])[:, None], np.fft.rfftfreq(tile.shape[1]))
    band = np.digitize(radius, OCTAVES)
    sums = np.bincount(band.ravel(), power.ravel(), len(OCTAVES) + 1)[:-1] + 1e-12  # the corners hold noise alone
    shape = [*np.log(sums[1:] / sums.sum()), np.arcsinh(np.mean(standard**3)), *np.quantile(standard, QUANTILES)]
    return np.array([*shape, np.log(spread), np.arcsinh(mean)] if with_intensities else shape)


def _fitted(told: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means (T + 1, K) and whitening (K, K) of statistics (N, T + 1, K), shrunk towards uncorrelated ones."""
    means = told.mean(0)
    within = (told - means).reshape(-1, told.shape[-1])
    covariance = within.T @ within / max(len(within) - told.shape[1], 1)
    variances = np.diag(covariance) + 1e-9
    weight = covariance.shape[0] / (covariance.shape[0] + len(within))
    shrunk = (1 - weight) * covariance + weight * np.diag(variances) + np.diag(1e-6 * variances)
    return means, np.linalg.inv(np.linalg.cholesky(shrunk))


def _votes(distances: np.ndarray) -> np.ndarray:
    """Posterior of the levels, (N, T + 1), all of them as likely beforehand."""
    likelihood = np.exp(-0.5 * (distances - distances.min(1, keepdims=True)))
    return likelihood / likelihood.sum(1, keepdims=True)


def _left_out(told: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances (M, T + 1) of every tile by an estimator that saw no tile of its field, and its level (M,)."""
    if len(set(groups)) == 1:  # one field: neighbouring tiles stay together
        groups = np.arange(len(told)) * min(NUM_FOLDS, len(told)) // len(told)
    folds = np.searchsorted(np.unique(groups), groups) % NUM_FOLDS
    distances, levels = [], []
    for fold in np.unique(folds):
        means, whitening = _fitted(told[folds != fold])
        without = LevelEstimator(0, True, means, whitening, 0.0, 0.0)
        for level in range(told.shape[1]):
            distances.append(without.distances(told[folds == fold, level]))
            levels += [level] * len(distances[-1])
    return np.concatenate(distances), np.asarray(levels)


def _temperature(distances: np.ndarray, levels: np.ndarray) -> float:
    """That with which votes tell their levels best: levels are no exact Gaussians, and raw votes too sure."""

    def loss(temperature: float) -> float:
        return -float(np.log(_votes(distances / temperature)[np.arange(len(levels)), levels] + 1e-300).mean())

    return min(map(float, TEMPERATURES), key=loss)


def _told_apart(tiles: Sequence[np.ndarray]) -> list[np.ndarray]:
    """At most MAX_TILES of those that hold more than background, evenly taken."""
    spreads = np.array([tile.std() for tile in tiles])
    kept = [tile for tile, spread in zip(tiles, spreads, strict=True) if spread > spreads.max() / 3]
    return kept[:: -(-len(kept) // MAX_TILES)] if kept else []


def _tiles(plane: np.ndarray, side: int) -> list[np.ndarray]:
    return [plane[rows, columns] for rows, columns in _places(plane.shape, side)]


def _places(shape: Sequence[int], side: int) -> list[tuple[slice, slice]]:
    return [
        (slice(top, top + side), slice(left, left + side))
        for top in range(0, shape[0] - side + 1, side)
        for left in range(0, shape[1] - side + 1, side)
    ]
