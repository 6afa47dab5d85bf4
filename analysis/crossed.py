"""Means of gaps over fields and seeds that are crossed: intervals, p values, what a design can detect.

Every seed's networks see every field, so a gap is gap_sf = mean + seed_s + field_f + rest_sf. The mean varies by two
parts: what the seeds' means vary by (which holds the rest, too), and what the fields' means vary by beyond the rest.
They add up, and each is known as well as its number of seeds or fields allows. The wider of a percentile bootstrap and
a t interval over the seeds would not do: of equal methods it calls 7 % different where fields dominate, covers 99.5 %
where neither seeds nor fields do, and each of the two forgets one part where both count.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special

CONFIDENCE = 0.95
POWER = 0.8
NUM_DRAWS = 20_000  # of the bootstrap: Holm multiplies its p values by the number of tests
DRAWS_AT_ONCE = 500
HALVINGS = 60  # of the exponent of p
SMALLEST = -200.0  # exponent of p; the t quantile is wrong far below


class Interval(NamedTuple):
    """Means of the gaps, their intervals and two-sided p values, one entry per comparison, (C,) each."""

    gap: np.ndarray
    ci_low: np.ndarray
    ci_high: np.ndarray
    p: np.ndarray


class Variances(NamedTuple):
    """Of the mean over seeds and fields: the part through the seeds (and the rest), and that through the fields."""

    seeds: np.ndarray
    fields: np.ndarray
    num_seeds: int
    num_fields: int

    def t(self, tail: float | np.ndarray) -> np.ndarray:
        """The quantile that leaves `tail` above it: both parts' t, weighted by the parts (Cochran and Cox)."""
        total = self.seeds + self.fields
        share = np.divide(self.seeds, total, out=np.full_like(total, float(self.num_seeds > 1)), where=total > 0)
        shares = ((share, self.num_seeds - 1), (1 - share, self.num_fields - 1))
        quantiles = [part * -special.stdtrit(df, tail) if df else 0.0 * part for part, df in shares]
        return quantiles[0] + quantiles[1]


def interval(differences: np.ndarray) -> Interval:
    """The t interval of the mean over crossed seeds and fields, and its p.

    differences: (C, S, F), comparison x seed x field, in the unit of the metric. A single seed leaves the t interval
    over the fields, a single field that over the seeds, a single number an infinite one. Where a loop diverged (a gap
    that is not finite) everything is NaN and p is 1.
    """
    differences = _finite(differences)
    gap, found = differences.mean(axis=(1, 2)), variances(differences)
    if differences.shape[1] * differences.shape[2] == 1:
        return Interval(gap, gap - np.inf, gap + np.inf, np.ones_like(gap))
    error = np.sqrt(found.seeds + found.fields)
    half = found.t((1 - CONFIDENCE) / 2) * error
    ratio = np.divide(np.abs(gap), error, out=np.full_like(gap, np.inf), where=error > 0)
    p = np.where(gap == 0, 1.0, _p(ratio, found))
    return Interval(gap, gap - half, gap + half, np.where(np.isnan(gap), 1.0, p))


def bootstrap(differences: np.ndarray, seed: int = 0, num_draws: int = NUM_DRAWS) -> Interval:
    """The percentile interval over resampled seeds x resampled fields, and p; the same draws for every comparison.

    It assumes no distribution, but covers too little with few seeds or fields, and too much where neither matters.
    """
    differences = _finite(differences)
    drawn = _draws(differences, seed, num_draws)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=1)
    gap = differences.mean(axis=(1, 2))
    return Interval(gap, low, high, np.where(np.isnan(gap), 1.0, _p_of_draws(drawn)))


def bootstrap_p(differences: np.ndarray, seed: int = 0, num_draws: int = NUM_DRAWS) -> np.ndarray:
    """The p values of `bootstrap` alone, (C,)."""
    is_whole = np.isfinite(differences).all(axis=(1, 2))
    return np.where(is_whole, _p_of_draws(_draws(_finite(differences), seed, num_draws)), 1.0)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment of p values, (C,): the family-wise error stays below the level."""
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    result = np.empty_like(adjusted)
    result[order] = np.minimum(1, adjusted)
    return result


def detectable(differences: np.ndarray, level: float = 1 - CONFIDENCE) -> np.ndarray:
    """The true gap that the test at `level` finds in 80 % of repetitions with the variances observed, (C,).

    Infinite with a single seed and field, NaN where a loop diverged.
    """
    return detectable_with(variances(_finite(differences)), level)


def detectable_with(found: Variances, level: float = 1 - CONFIDENCE) -> np.ndarray:
    """The same of variances that are given: of the noncentral t with both parts' degrees of freedom (Satterthwaite)."""
    total = found.seeds + found.fields
    if found.num_seeds * found.num_fields == 1:
        return np.full_like(total, np.inf)
    parts = ((found.seeds, found.num_seeds - 1), (found.fields, found.num_fields - 1))
    spread = sum(part**2 / df if df else 0.0 * part for part, df in parts)
    df = np.divide(total**2, spread, out=np.ones_like(total), where=spread > 0)
    needed = found.t(level / 2)
    noncentrality = special.nctdtrinc(df, 1 - POWER, needed)
    # far in the tails the series of the noncentral t fails; the shifted t is within a few percent there
    shifted = needed + special.stdtrit(df, POWER)
    noncentrality = np.where(np.isfinite(noncentrality) & (noncentrality > 0), noncentrality, shifted)
    return noncentrality * np.sqrt(total)


def variances(differences: np.ndarray) -> Variances:
    """What the means of (C, S, F) vary by, (C,) each: the crossed design's mean squares over S F."""
    _, num_seeds, num_fields = differences.shape
    of_seeds, of_fields = differences.mean(axis=2), differences.mean(axis=1)
    seeds = of_seeds.var(axis=1, ddof=1) / num_seeds if num_seeds > 1 else np.zeros(len(differences))
    fields = of_fields.var(axis=1, ddof=1) / num_fields if num_fields > 1 else np.zeros(len(differences))
    if num_seeds > 1 and num_fields > 1:
        rest = differences - of_seeds[:, :, None] - of_fields[:, None, :] + differences.mean(axis=(1, 2))[:, None, None]
        num_free = (num_seeds - 1) * (num_fields - 1)
        fields = np.maximum(fields - (rest**2).sum(axis=(1, 2)) / (num_free * num_seeds * num_fields), 0)
    return Variances(seeds, fields, num_seeds, num_fields)


def _finite(differences: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(differences).all(axis=(1, 2), keepdims=True), differences, np.nan)


def _p(ratio: np.ndarray, found: Variances) -> np.ndarray:
    """Two-sided p of |mean| / error: the p whose quantile it is."""
    low, high = np.full_like(ratio, SMALLEST), np.zeros_like(ratio)  # exponents of ten
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above = found.t(10**middle / 2) > ratio  # a rarer event would be needed: p is larger
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.where(np.isinf(ratio), 0.0, 10 ** ((low + high) / 2))


def _p_of_draws(drawn: np.ndarray) -> np.ndarray:
    num_draws = drawn.shape[1]
    fewer = np.minimum((drawn <= 0).sum(1), (drawn >= 0).sum(1))
    return np.minimum(1, 2 * (fewer + 1) / (num_draws + 1))


def _draws(differences: np.ndarray, seed: int, num_draws: int) -> np.ndarray:
    """Means of resampled seeds x resampled fields, (C, num_draws); the same draws for every comparison."""
    num, num_seeds, num_fields = differences.shape
    rng = np.random.default_rng(seed)
    of_seeds = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), num_draws) / num_seeds
    of_fields = rng.multinomial(num_fields, np.full(num_fields, 1 / num_fields), num_draws) / num_fields
    drawn, rows = np.empty((num, num_draws)), differences.reshape(-1, num_fields)
    for first in range(0, num_draws, DRAWS_AT_ONCE):  # so that memory stays bounded
        some = slice(first, first + DRAWS_AT_ONCE)
        seed_means = (rows @ of_fields[some].T).reshape(num, num_seeds, -1)
        drawn[:, some] = np.einsum("csd,ds->cd", seed_means, of_seeds[some])
    return drawn
