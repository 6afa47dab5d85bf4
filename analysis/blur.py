"""Blur, the second of two headline questions: is fine detail there, and is it the right one?

Escaping the conditional average was the point of iterating, and PSNR rewards that average. Two numbers of every
prediction, both higher where there is less blur:

| column | what |
|---|---|
| `power_kept` | share of the reference's power in the upper half of the passband; an excess is no blur |
| `frc` | the highest frequency that agrees with the truth (Fourier ring correlation at 1/7), cycles/px; 0 is none |

`power_kept` does not ask whether the power is the truth's; `frc` does, and needs a simulated series.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.gap import COLUMNS, gaps
from analysis.measures import BAND_EDGES, NUM_BANDS
from dehazing.data.archive import RECORD
from dehazing.pipeline.store import open_store

NYQUIST = BAND_EDGES[-1]
MARGINS = {"power_kept": 0.02, "frc": 0.01}  # a share, cycles/px: smaller gaps are a tie


def read_passband(root: Path | str, confirmation: Mapping[str, Any]) -> float:
    """The highest frequency that the optics pass and the pixels show, cycles/px; Nyquist's where nobody knows it.

    It is 2 NA / wavelength of the emitted light: the passband of the open pinhole, where all levels have signal.
    """
    store, address = open_store(root), f"series/{confirmation['dataset']}"
    if not store.has(address):
        return NYQUIST
    record = json.loads(store.read(address, RECORD))
    optics = (record.get("simulated") or {}).get("optics", {})
    if not record.get("pixel_size_um") or not {"numerical_aperture", "emission_nm"} <= set(optics):
        return NYQUIST
    cutoff_per_um = 2e3 * optics["numerical_aperture"] / optics["emission_nm"]
    return min(cutoff_per_um * record["pixel_size_um"], NYQUIST)


def upper_bands(passband: float) -> list[int]:
    """The bands whose middle lies in the upper half of the passband, cycles/px; the nearest one where none does."""
    middles = [(low + high) / 2 for low, high in pairwise(BAND_EDGES)]
    found = [band for band in range(NUM_BANDS) if passband / 2 <= middles[band] <= passband]
    return found or [min(range(NUM_BANDS), key=lambda band: abs(middles[band] - 0.75 * passband))]


def upper_range(passband: float) -> str:
    """Where the bands of `upper_bands` lie: "0.25–0.5"."""
    bands = upper_bands(passband)
    return f"{BAND_EDGES[bands[0]]:g}–{BAND_EDGES[bands[-1] + 1]:g}"


def with_blur(trajectories: pd.DataFrame, passband: float = NYQUIST) -> pd.DataFrame:
    """The identity of every row with `power_kept` and `frc`, as far as they were measured on every field."""
    table = trajectories[["seed", "variant", "field", "step", "level"]].copy()
    columns = [f"power_{band}" for band in upper_bands(passband)]
    if set(columns) <= set(trajectories.columns):
        # minimum keeps NaN, of what diverged
        table["power_kept"] = np.minimum(trajectories[columns].to_numpy(), 1.0).mean(axis=1)
    if "frc_px" in trajectories.columns and trajectories["frc_px"].notna().any():
        table["frc"] = 1 / trajectories["frc_px"]
    return table


def blur_gaps(blur: pd.DataFrame) -> pd.DataFrame:
    """The gap table of both numbers, as `analysis.gap.gaps` has it for PSNR; empty where neither was measured.

    blur: of `with_blur`. A share is missing where a gap in `power_kept` is negative, as much more than the baseline's.
    """
    tables = [gaps(blur, margin_db=margin, metrics=(name,)) for name, margin in MARGINS.items() if name in blur]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS))
