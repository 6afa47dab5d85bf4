"""The gate: can the latent space hold a clean image better than the UNet restores one? Else no loop in it can win.

It is about the very networks that the loop ran with, so its interval is over the test fields alone, and the seeds'
means stand beside it: it holds where the interval and every seed do.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.gap import interval

NEEDED_DB = 4.0


class Gate(NamedTuple):
    """Dec(E(x_0)) less the UNet's restoration at T, in dB of PSNR: mean, interval over test fields, lowest seed."""

    gap: float
    ci_low: float
    ci_high: float
    lowest_seed: float
    verdict: str  # holds | undecided | falls short; "" for a real series, which has no noise-free x_0
    text: str


def gate(trajectories: pd.DataFrame, score_against: str) -> Gate:
    """The gate of a confirmed experiment, paired by field; score_against: truth | frame, as confirm.json has it."""
    has_truth = score_against == "truth"
    encoded = "ceiling_truth" if has_truth else "ceiling_frame"
    missing = {encoded, "unet"} - set(trajectories["variant"])
    if missing:
        raise ValueError(
            f"The gate needs the scores of the UNet and of Dec(E(x_0)), but {sorted(missing)} are missing."
        )
    at_T = trajectories[(trajectories["step"] == 0) & trajectories["variant"].isin([encoded, "unet"])]
    by_variant = at_T.pivot(index=["seed", "field"], columns="variant", values="psnr")
    gaps = (by_variant[encoded] - by_variant["unet"]).unstack("field").to_numpy()  # (seeds, fields)
    # over the fields alone: of the seeds the lowest counts, whatever their number
    found = interval(gaps.mean(axis=0)[None, None])
    gap, low, high = float(found.gap[0]), float(found.ci_low[0]), float(found.ci_high[0])
    of_seeds = gaps.mean(axis=1)
    lowest, highest = float(of_seeds.min()), float(of_seeds.max())
    measured = f"lies {gap:+.1f} dB [{low:+.1f}, {high:+.1f}] over the UNet's restoration at T on the test split"
    if len(of_seeds) > 1:
        measured += f" (seeds {lowest:+.1f} to {highest:+.1f})"
    if not has_truth:
        text = f"Dec(E(x₀)) of the acquired frame {measured}; no gate, as there is no noise-free x₀."
        return Gate(gap, low, high, lowest, "", text)
    verdict = _verdict(min(low, lowest), high)
    copula = "is " if verdict == "undecided" else ""
    text = f"The gate {copula}{verdict}: Dec(E(x₀)) of the noise-free x₀ {measured}; {NEEDED_DB:+.0f} dB are needed."
    if verdict == "falls short":
        text += " Whatever the loop reaches here says little about loops: the latents cannot hold the image."
    return Gate(gap, low, high, lowest, verdict, text)


def _verdict(low: float, high: float) -> str:
    """NaN, of an autoencoder that gives nothing finite, falls short."""
    if np.isfinite([low, high]).all() and high >= NEEDED_DB:
        return "holds" if low >= NEEDED_DB else "undecided"
    return "falls short"
