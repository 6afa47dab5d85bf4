"""The two headline verdicts: fidelity (PSNR) and blur (power and Fourier ring correlation), each with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from analysis.facts import source_and_best
from analysis.scores import at_the_end, best_baseline
from analysis.table import gap_rows
from analysis.variants import the, title

COLUMNS = ("question", "variant", "baseline", "value", "of_baseline", "gap", "ci_low", "ci_high", "verdict")


class Headline(NamedTuple):
    """One loop against the baseline that is best at this question."""

    question: str  # fidelity | blur: power | blur: detail
    text: str
    verdict: str  # trails | ties | beats | undecided


def verdicts(
    gap: pd.DataFrame, trajectories: pd.DataFrame, blur_gap: pd.DataFrame, blur: pd.DataFrame, blind: bool
) -> pd.DataFrame:
    """One row per question and loop (the source's, the best in PSNR), COLUMNS, at its last step.

    gap and blur_gap: of `analysis.gap.gaps` and `analysis.blur.blur_gaps`; blur: of `analysis.blur.with_blur`. The
    baseline is the best one at the question, by its mean at T.
    """
    loops = source_and_best(gap_rows(gap, int(gap["step"].max()), trajectories), blind)
    names = list(dict.fromkeys(row.variant for row in loops if row is not None))
    rows = []
    for question, metric, table, scores in (
        ("fidelity", "psnr", gap, trajectories),
        ("blur: power", "power_kept", blur_gap, blur),
        ("blur: detail", "frc", blur_gap, blur),
    ):
        if metric not in set(table["metric"]):
            continue
        ends = at_the_end(scores)
        means, best = ends.groupby("variant")[metric].mean(), best_baseline(ends, metric)
        last = {row.variant: row.gaps for row in gap_rows(table, int(table["step"].max()), metric=metric)}
        for name in names:
            found = last[name][best]
            interval = [found[column] for column in ("gap", "ci_low", "ci_high", "verdict")]
            rows.append((question, name, best, means[name], means[best], *interval))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def headlines(table: pd.DataFrame, where: str) -> list[Headline]:
    """The rows of `verdicts` in words; where: the frequencies of the upper half of the passband, "0.25–0.5"."""
    said: list[Headline] = []
    for row in table.to_dict("records"):
        name, baseline = title(str(row["variant"])), the(str(row["baseline"]))
        gap, low, high = (float(row[key]) for key in ("gap", "ci_low", "ci_high"))
        value, of_baseline = float(row["value"]), float(row["of_baseline"])
        if not math.isfinite(gap):
            text = f"{name} did not come to its end with finite numbers."
        elif row["question"] == "fidelity":
            text = (
                f"{name} ends at {value:.1f} dB, {_apart(gap, low, high, ' dB', 1)} than {baseline}, "
                "the baseline of highest PSNR."
            )
        elif row["question"] == "blur: power":
            text = (
                f"{name} misses {100 * (1 - value):.0f} % of the power at {where} cycles/px, the upper half of the "
                f"passband, {baseline} {100 * (1 - of_baseline):.0f} %: it keeps "
                f"{_apart(100 * gap, 100 * low, 100 * high, ' points', 0, 'more', 'less')}."
            )
        else:
            text = (
                f"{name} agrees with the truth up to {value:.3f} cycles/px, {baseline} up to {of_baseline:.3f}: "
                f"{_apart(gap, low, high, '', 3)}."
            )
        said.append(Headline(str(row["question"]), text, str(row["verdict"])))
    return said


def overall(said: Sequence[Headline]) -> str:
    """Whether what is lost in fidelity is won in sharpness; "" where nothing of blur was measured."""
    of_blur = {headline.verdict for headline in said if headline.question != "fidelity"}
    if not of_blur:
        return ""
    if of_blur == {"beats"}:
        return "So iterating is sharper than every baseline here."
    if "beats" not in of_blur:
        return "So nothing here shows that iterating is sharper than the baselines."
    return "So some of the detail is sharper and some is not, or more power is there than agrees with the truth."


def _apart(
    gap: float, low: float, high: float, unit: str, digits: int, more: str = "higher", less: str = "lower"
) -> str:
    sign = 1 if gap >= 0 else -1
    low, high = sorted((sign * low, sign * high))
    return f"{abs(gap):.{digits}f}{unit} {more if gap >= 0 else less} [{low:.{digits}f}, {high:.{digits}f}]"
