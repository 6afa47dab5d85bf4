"""How far each way to iterate lies from each baseline, with an honest interval.

A gap is paired per field of view: variant minus the baseline's prediction from x_T, in dB, positive where the variant
is better; of a loop that begins at a lower level, minus the prediction from the image there. Fields and seeds are
crossed (every seed's networks see every field); what that asks for, crossed.py has.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.crossed import CONFIDENCE, bootstrap_p, holm, interval
from analysis.scores import by_seed_and_field, num_seeds_and_fields
from analysis.starts import with_start
from analysis.variants import BASELINES, are_variants

__all__ = ["COLUMNS", "gap_between", "gaps", "holm", "interval", "p_values", "verdict"]

METRICS = ("psnr", "psnr_ri")
MARGIN_DB = 0.1  # gaps smaller than this are a tie
COLUMNS = (
    *("variant", "step", "level", "metric", "baseline", "gap", "ci_low", "ci_high", "p_holm"),
    *("num_fovs", "num_seeds", "verdict", "start"),
)


def gaps(
    trajectories: pd.DataFrame, seed: int = 0, margin_db: float = MARGIN_DB, metrics: Sequence[str] = METRICS
) -> pd.DataFrame:
    """The gap table: every variant at every step against every baseline, columns COLUMNS.

    metrics: columns of the trajectories, each higher where it is better; the margin is in their unit. start: the level
    that the loop began at. Holm's correction covers all variants and baselines at the final step of the loops from T,
    per metric, and those of the loops from all lower levels as a family of their own; elsewhere p_holm is NaN.
    """
    cells, differences = paired(trajectories, metrics)
    num_seeds, num_fields = differences.shape[1:]
    found = interval(differences)
    table = cells.assign(gap=found.gap, ci_low=found.ci_low, ci_high=found.ci_high, p_holm=np.nan)

    for final in (at_last_step(cells), at_last_step(cells, from_T=False)):
        tested = p_values(differences[final], seed) if final.any() else np.empty(0)
        for metric in table["metric"].unique():
            of_metric = (table["metric"] == metric).to_numpy()
            table.loc[final & of_metric, "p_holm"] = holm(tested[of_metric[final]])

    table = table.assign(num_fovs=num_fields, num_seeds=num_seeds)
    table["verdict"] = [
        verdict(low, high, p, num_seeds, margin_db)
        for low, high, p in table[["ci_low", "ci_high", "p_holm"]].to_numpy()
    ]
    return table[list(COLUMNS)].sort_values(["metric", "variant", "step", "baseline"], ignore_index=True)


def p_values(differences: np.ndarray, seed: int = 0) -> np.ndarray:
    """Of (C, S, F), (C,): the larger of those of the crossed design's t and of a two-way bootstrap.

    The first trusts the normal distribution, the second none, and a difference must convince both.
    """
    return np.maximum(interval(differences).p, bootstrap_p(differences, seed))


def at_last_step(cells: pd.DataFrame, from_T: bool = True) -> np.ndarray:
    """Which comparisons are tested: those at each variant's last step, of the loops that begin at T (or lower)."""
    is_last = cells["step"] == cells.groupby("variant")["step"].transform("max")
    return (is_last & ((cells["start"] == cells["start"].max()) == from_T)).to_numpy()


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


def paired(trajectories: pd.DataFrame, metrics: Sequence[str] = METRICS) -> tuple[pd.DataFrame, np.ndarray]:
    """What is compared, one row per comparison, and the gaps of each, (C, S, F)."""
    trajectories = with_start(trajectories)
    present = set(trajectories["variant"].unique())
    baselines = [name for name in BASELINES if name in present]
    if not baselines:
        raise ValueError(f"A trajectory table must hold one of the baselines {BASELINES}, but has none.")
    variants = trajectories[are_variants(trajectories["variant"])]
    begun_at = trajectories["level"].isin(variants["start"].unique())
    one_shot = trajectories[trajectories["variant"].isin(baselines) & begun_at]
    cells, differences = [], []
    for metric in metrics:
        of_baselines = by_seed_and_field(one_shot, ["variant", "level"], metric)
        of_variants = by_seed_and_field(variants, ["variant", "step", "level", "start"], metric)
        if not of_variants.columns.equals(of_baselines.columns):
            raise ValueError("Variants and baselines must be scored on the same fields with the same seeds.")
        for baseline in baselines:
            starts = [(baseline, start) for start in of_variants.index.get_level_values("start")]
            if missing := next((pair for pair in starts if pair not in of_baselines.index), None):
                raise ValueError(
                    f"A loop from level {missing[1]} needs a baseline there, but {baseline} has no scores."
                )
            gap = of_variants.to_numpy() - of_baselines.loc[starts].to_numpy()
            differences.append(gap.reshape(-1, *num_seeds_and_fields(of_baselines)))
            cells.append(of_variants.index.to_frame(index=False).assign(metric=metric, baseline=baseline))
    return pd.concat(cells, ignore_index=True), np.concatenate(differences)
