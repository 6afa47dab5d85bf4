"""The gate: can the latent space hold a clean image better than the UNet restores one? Else no loop in it can win."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from analysis.gap import gap_between

NEEDED_DB = 4.0


class Gate(NamedTuple):
    """Dec(E(x_0)) less the UNet's restoration at T in dB of PSNR, mean and interval over test fields and seeds."""

    gap: float
    ci_low: float
    ci_high: float
    verdict: str  # holds | undecided | falls short; "" for a real series, which has no noise-free x_0
    text: str


def gate(trajectories: pd.DataFrame, score_against: str) -> Gate:
    """The gate of a confirmed experiment, paired by field; it holds where the whole interval is at NEEDED_DB or above.

    score_against: truth | frame, as confirm.json has it.
    """
    has_truth = score_against == "truth"
    encoded = "ceiling_truth" if has_truth else "ceiling_frame"
    missing = {encoded, "unet"} - set(trajectories["variant"])
    if missing:
        raise ValueError(
            f"The gate needs the scores of the UNet and of Dec(E(x_0)), but {sorted(missing)} are missing."
        )
    gap, low, high = gap_between(trajectories, encoded, "unet", "psnr")
    measured = f"lies {gap:+.1f} dB [{low:+.1f}, {high:+.1f}] over the UNet's restoration at T on the test split"
    if not has_truth:
        text = f"Dec(E(x₀)) of the acquired frame {measured}; no gate, as there is no noise-free x₀."
        return Gate(gap, low, high, "", text)
    verdict = "holds" if low >= NEEDED_DB else "undecided" if high >= NEEDED_DB else "falls short"
    copula = "is " if verdict == "undecided" else ""
    text = f"The gate {copula}{verdict}: Dec(E(x₀)) of the noise-free x₀ {measured}; {NEEDED_DB:+.0f} dB are needed."
    if verdict == "falls short":
        text += " Whatever the loop reaches here says little about loops: the latents cannot hold the image."
    return Gate(gap, low, high, verdict, text)
