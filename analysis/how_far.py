"""The report's section on how far, honestly: two verdicts, every step, what searches promised, what can be detected."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from analysis.blur import blur_gaps, read_passband, upper_range, with_blur
from analysis.detect import detectable_gaps, detectable_sentence
from analysis.promised import promised, promised_sentences
from analysis.trajectories import Confirmation, chosen_is_blind
from analysis.variants import BASELINES, ordered
from analysis.verdicts import Headline, blur_sentence, headlines, overall, verdicts

Step = Mapping[str, Any]  # a row of the gap table


class HowFar(NamedTuple):
    """What the page shows."""

    headlines: list[Headline]
    blur: str  # the second headline
    overall: str
    every: list[tuple[str, list[tuple[str, dict[int, Step]]]]]  # baseline → variant → level → gap in PSNR
    promised: list[str]
    detectable: str


def how_far(
    root: Path | str,
    confirmation: Confirmation,
    gap: pd.DataFrame,
    trajectories: pd.DataFrame,
    trials: pd.DataFrame,
    folder: Path,
) -> HowFar:
    """Works it out, and writes blur.csv, verdicts.csv, promised.csv and detectable.csv into the report's folder."""
    passband = read_passband(root, confirmation)
    blur = with_blur(trajectories, passband)
    of_blur = blur_gaps(blur)
    answers = verdicts(gap, trajectories, of_blur, blur, chosen_is_blind(confirmation))
    kept = promised(root, confirmation, trials, trajectories)
    able = detectable_gaps(trajectories)
    for name, table in (("blur", of_blur), ("verdicts", answers), ("promised", kept), ("detectable", able)):
        table.to_csv(folder / f"{name}.csv", index=False)
    said = headlines(answers, upper_range(passband))
    return HowFar(
        said, blur_sentence(said), overall(said), every_step(gap), promised_sentences(kept), detectable_sentence(able)
    )


def every_step(gap: pd.DataFrame) -> list[tuple[str, list[tuple[str, dict[int, Step]]]]]:
    """Baseline → variant → level that a prediction was made at → its row of the gap table in PSNR."""
    of_psnr = gap[gap["metric"] == "psnr"]
    found: dict[tuple[str, str], dict[int, Step]] = {}
    for row in of_psnr.to_dict("records"):
        found.setdefault((row["baseline"], row["variant"]), {})[int(row["level"])] = row  # type: ignore[assignment]
    names = ordered(of_psnr["variant"])
    present = [name for name in BASELINES if name in set(of_psnr["baseline"])]
    return [(baseline, [(name, found[baseline, name]) for name in names]) for baseline in present]
