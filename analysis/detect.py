"""What the sample can show: the gap that this many fields and seeds find in four of five repetitions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.crossed import CONFIDENCE, Variances, detectable, detectable_with, variances
from analysis.gap import at_last_step, paired

COLUMNS = (
    *("variant", "baseline", "metric", "gap", "sd_seeds", "sd_fields", "sd_rest"),
    *("detectable", "detectable_holm", "twice_seeds", "twice_fields", "num_fovs", "num_seeds"),
)
TOO_LARGE_DB = 20.0


def detectable_gaps(trajectories: pd.DataFrame, metric: str = "psnr") -> pd.DataFrame:
    """One row per variant and baseline at the last step, COLUMNS, in dB: spreads of the paired gap, what they let show.

    detectable: the true gap whose 95 % interval excludes 0 with a probability of 80 %, were the variances those
    observed; detectable_holm: the same at the level of Holm's first step, 5 % over the number of rows; twice_seeds and
    twice_fields: `detectable` with twice as many of them.
    """
    cells, differences = paired(trajectories, (metric,))
    final = at_last_step(cells)
    cells, differences = cells[final].reset_index(drop=True), differences[final]
    differences = np.where(np.isfinite(differences).all(axis=(1, 2), keepdims=True), differences, np.nan)
    num_seeds, num_fields = differences.shape[1:]
    found = variances(differences)
    rest = _rest(differences)
    of_seeds = np.maximum(found.seeds * num_seeds - rest / num_fields, 0)
    of_fields = found.fields * num_fields

    def with_twice(seeds: int, fields: int) -> np.ndarray:
        S, F = seeds * num_seeds, fields * num_fields
        return detectable_with(Variances(of_seeds / S + rest / (S * F), of_fields / F, S, F))

    shown = detectable(differences)
    as_it_is = with_twice(1, 1)  # not quite `shown` where a variance was cut at 0
    share = np.divide(shown, as_it_is, out=np.ones_like(shown), where=(as_it_is > 0) & np.isfinite(as_it_is))

    table = cells.assign(
        gap=differences.mean(axis=(1, 2)),
        sd_seeds=np.sqrt(of_seeds),
        sd_fields=np.sqrt(of_fields),
        sd_rest=np.sqrt(rest),
        detectable=shown,
        detectable_holm=detectable(differences, (1 - CONFIDENCE) / len(cells)),
        twice_seeds=share * with_twice(2, 1),
        twice_fields=share * with_twice(1, 2),
        num_fovs=num_fields,
        num_seeds=num_seeds,
    )
    return table[list(COLUMNS)].sort_values(["variant", "baseline"], ignore_index=True)


def detectable_sentence(table: pd.DataFrame) -> str:
    """What half of the comparisons could show, in words."""
    known = table[np.isfinite(table["detectable"])]
    if not len(known):
        return ""
    columns = ["detectable", "detectable_holm", "twice_seeds", "twice_fields"]
    middle, strict, seeds, fields = (float(known[column].median()) for column in columns)
    low, high = known["detectable"].quantile([0.1, 0.9])
    num_fields, num_seeds = known["num_fovs"].iloc[0], known["num_seeds"].iloc[0]
    past_holm = f"{strict:.2f} dB" if strict < TOO_LARGE_DB else f"more than {TOO_LARGE_DB:.0f} dB"
    text = (
        f"{num_fields} fields and {num_seeds} seed{'s' if num_seeds > 1 else ''} show a true gap of {middle:.2f} dB "
        f"in four of five repetitions (the median of {len(known)} comparisons; eight of ten lie at {low:.2f} to "
        f"{high:.2f} dB), and one of {past_holm} past Holm's correction at its strictest. Smaller gaps may "
        "be there and stay undecided."
    )
    if num_seeds > 1:
        text += f" Twice the seeds would show {seeds:.2f} dB, twice the fields {fields:.2f} dB."
    return text


def _rest(differences: np.ndarray) -> np.ndarray:
    """Variance of what neither the seed nor the field explains, (C,); 0 where it cannot be told."""
    _, num_seeds, num_fields = differences.shape
    if num_seeds < 2 or num_fields < 2:
        return 0.0 * differences.mean(axis=(1, 2))
    of_seeds, of_fields = differences.mean(axis=2, keepdims=True), differences.mean(axis=1, keepdims=True)
    rest = differences - of_seeds - of_fields + differences.mean(axis=(1, 2), keepdims=True)
    return (rest**2).sum(axis=(1, 2)) / ((num_seeds - 1) * (num_fields - 1))
