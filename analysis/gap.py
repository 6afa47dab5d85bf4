"""How far each way to iterate lies from each baseline, with an honest interval.

A gap is paired per field of view: variant minus the baseline's prediction from x_T, in dB, positive where the variant
is better. Fields and seeds are crossed (every seed's networks see every field), so both are resampled together.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from analysis.variants import BASELINES, is_variant

METRICS = ("psnr", "psnr_ri")
MARGIN_DB = 0.1  # gaps smaller than this are a tie
CONFIDENCE = 0.95
NUM_DRAWS = 2000  # for the intervals
NUM_TEST_DRAWS = 20_000  # for p values, which Holm multiplies by the number of tests
COLUMNS = (
    *("variant", "step", "level", "metric", "baseline", "gap", "ci_low", "ci_high", "p_holm"),
    *("num_fovs", "num_seeds", "verdict"),
)


class Interval(NamedTuple):
    """Means of the gaps, their intervals and two-sided p values, one entry per comparison, (C,) each."""

    gap: np.ndarray
    ci_low: np.ndarray
    ci_high: np.ndarray
    p: np.ndarray


def gaps(trajectories: pd.DataFrame, seed: int = 0, margin_db: float = MARGIN_DB) -> pd.DataFrame:
    """The gap table: every variant at every step against every baseline, columns COLUMNS.

    Holm's correction covers all variants and baselines at the final step, per metric; elsewhere p_holm is NaN.
    """
    cells, differences = _paired(trajectories)
    num_seeds, num_fields = differences.shape[1:]
    found = interval(differences, seed)
    table = cells.assign(gap=found.gap, ci_low=found.ci_low, ci_high=found.ci_high, p_holm=np.nan)

    final = (table["step"] == table.groupby("variant")["step"].transform("max")).to_numpy()
    tested = interval(differences[final], seed, NUM_TEST_DRAWS).p
    for metric in table["metric"].unique():
        of_metric = (table["metric"] == metric).to_numpy()
        table.loc[final & of_metric, "p_holm"] = holm(tested[of_metric[final]])

    table = table.assign(num_fovs=num_fields, num_seeds=num_seeds)
    table["verdict"] = [
        verdict(low, high, p, num_seeds, margin_db)
        for low, high, p in table[["ci_low", "ci_high", "p_holm"]].to_numpy()
    ]
    return table[list(COLUMNS)].sort_values(["metric", "variant", "step", "baseline"], ignore_index=True)


def gap_between(
    trajectories: pd.DataFrame, variant: str, baseline: str, metric: str = "psnr_ri"
) -> tuple[float, float, float]:
    """Mean gap and interval, in dB, between the first predictions of any two rows, say HDN and UNet."""
    names = [variant, baseline]
    table = trajectories[trajectories["variant"].isin(names)]
    table = table[table["step"] == table.groupby("variant")["step"].transform("min")]
    values = table.pivot_table(index="seed", columns=["variant", "field"], values=metric)
    found = interval((values[variant] - values[baseline]).to_numpy()[None])
    return float(found.gap[0]), float(found.ci_low[0]), float(found.ci_high[0])


def interval(differences: np.ndarray, seed: int = 0, num_draws: int = NUM_DRAWS) -> Interval:
    """The wider of a two-way percentile bootstrap and a t interval over the seeds' means; p is the larger.

    differences: (C, S, F), comparison x seed x field, in dB. With few seeds a percentile bootstrap covers far too
    little, and a t interval over seeds forgets the fields; a single seed has the bootstrap over fields alone.
    Where a loop diverged (a gap that is not finite) everything is NaN and p is 1.
    """
    differences = np.where(np.isfinite(differences).all(axis=(1, 2), keepdims=True), differences, np.nan)
    drawn = _two_way_bootstrap(differences, seed, num_draws)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=1)
    fewer = np.minimum((drawn <= 0).sum(1), (drawn >= 0).sum(1))
    p = np.minimum(1, 2 * (fewer + 1) / (num_draws + 1))

    seed_means = differences.mean(axis=2)
    num_seeds = seed_means.shape[1]
    gap = seed_means.mean(axis=1)
    if num_seeds > 1:
        error = seed_means.std(axis=1, ddof=1) / np.sqrt(num_seeds)
        half = stats.t.ppf(1 - tail, num_seeds - 1) * error
        wider = 2 * half > high - low
        low, high = np.where(wider, gap - half, low), np.where(wider, gap + half, high)
        ratio = np.divide(np.abs(gap), error, out=np.full_like(gap, np.inf), where=error > 0)
        p_t = np.where(gap == 0, 1, 2 * stats.t.sf(ratio, num_seeds - 1))
        p = np.maximum(p, p_t)
    return Interval(gap, low, high, np.where(np.isnan(gap), 1, p))


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment of p values, (C,): the family-wise error stays below the level."""
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    result = np.empty_like(adjusted)
    result[order] = np.minimum(1, adjusted)
    return result


def verdict(low: float, high: float, p_holm: float, num_seeds: int, margin_db: float = MARGIN_DB) -> str:
    """trails | ties | beats | undecided, from an interval in dB.

    Ties where the whole interval lies within ± margin, even where it excludes 0: a difference too small to matter.
    Trails or beats where it excludes 0 and, where a corrected p is given, p < 0.05. With fewer than three seeds
    always undecided.
    """
    if num_seeds < 3:
        return "undecided"
    if -margin_db <= low and high <= margin_db:
        return "ties"
    if not np.isnan(p_holm) and p_holm >= 1 - CONFIDENCE:
        return "undecided"
    if high < 0:
        return "trails"
    if low > 0:
        return "beats"
    return "undecided"


def _paired(trajectories: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """What is compared, one row per comparison, and the gaps of each, (C, S, F)."""
    baselines = [name for name in BASELINES if name in set(trajectories["variant"])]
    if not baselines:
        raise ValueError(f"A trajectory table must hold one of the baselines {BASELINES}, but has none.")
    first = trajectories[trajectories["step"] == 0]
    variants = trajectories[trajectories["variant"].map(is_variant)]
    cells, differences = [], []
    for metric in METRICS:
        of_baselines = _crossed(first[first["variant"].isin(baselines)], ["variant"], metric)
        of_variants = _crossed(variants, ["variant", "step", "level"], metric)
        if not of_variants.columns.equals(of_baselines.columns):
            raise ValueError("Variants and baselines must be scored on the same fields with the same seeds.")
        shape = [len(of_baselines.columns.unique(name)) for name in ("seed", "field")]
        for baseline in baselines:
            gap = of_variants.to_numpy() - of_baselines.loc[baseline].to_numpy()
            differences.append(gap.reshape(-1, *shape))
            cells.append(of_variants.index.to_frame(index=False).assign(metric=metric, baseline=baseline))
    return pd.concat(cells, ignore_index=True), np.concatenate(differences)


def _crossed(rows: pd.DataFrame, index: list[str], metric: str) -> pd.DataFrame:
    """Scores with one column per (seed, field), seeds outermost; NaN only where a loop diverged."""
    num_expected = rows["seed"].nunique() * rows["field"].nunique()
    counts = rows.groupby(index).size()
    if (counts != num_expected).any():
        where, count = counts[counts != num_expected].index[0], counts[counts != num_expected].iloc[0]
        raise ValueError(
            f"Fields and seeds must be crossed: {num_expected} scores are needed, but {where} has {count}."
        )
    return rows.pivot(index=index, columns=["seed", "field"], values=metric).sort_index(axis=1)


def _two_way_bootstrap(differences: np.ndarray, seed: int, num_draws: int) -> np.ndarray:
    """Means of resampled seeds x resampled fields, (C, num_draws); the same draws for every comparison."""
    _, num_seeds, num_fields = differences.shape
    rng = np.random.default_rng(seed)
    weights_seeds = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), num_draws) / num_seeds
    weights_fields = rng.multinomial(num_fields, np.full(num_fields, 1 / num_fields), num_draws) / num_fields
    return np.stack([((gap @ weights_fields.T) * weights_seeds.T).sum(axis=0) for gap in differences])
