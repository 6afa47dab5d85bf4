"""Fidelity against sharpness: every method as a point, and the Pareto front of those that nothing beats in both.

Sharpness is the power that a restoration keeps in the upper half of the passband, `power_kept` of `analysis.blur`, as
far as it coheres with the truth; in dB, 0 as the truth. Noise has power, too, and is not sharp: of a band's power p
(over the truth's) with coherence c the part c² is what a gain times the truth explains, none where c is negative, so
c² · min(p, 1) is kept. Noise adds nothing to it, and neither does an excess: a loop that runs away keeps no more than
its c². What is left, p - c² p, is power that is not the truth's: noise or invented detail.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.blur import upper_bands
from analysis.facts import NOT_ITERATING
from analysis.measures import at_the_end
from analysis.variants import (
    BASELINES,
    CLASSICAL,
    ORACLES,
    TURNED,
    family,
    is_variant,
    one_shot_methods,
    ordered,
    title,
)

FIDELITIES = ("psnr", "psnr_ri")
SHOWN_ONLY = ("input", *ORACLES)  # drawn, but never on the front: no restoration, or one that no user has
COLUMNS = (
    *("method", "kind", "psnr", "psnr_low", "psnr_high", "psnr_ri", "psnr_ri_low", "psnr_ri_high"),
    *("sharpness_db", "sharpness_db_low", "sharpness_db_high", "not_the_truths", "on_front", "on_front_ri"),
)


def plane_table(trajectories: pd.DataFrame, passband: float) -> pd.DataFrame:
    """One row per method, COLUMNS: means over fields and seeds at T, or at a loop's last step; low and high of seeds.

    not_the_truths: share of the truth's power in the upper half of the passband. A method that is not finite has NaN.
    Empty where spectra were not measured.
    """
    bands = upper_bands(passband)
    columns = [f"{quantity}_{band}" for quantity in ("power", "coherence") for band in bands]
    if not {*columns, *FIDELITIES} <= set(trajectories.columns):
        return pd.DataFrame(columns=list(COLUMNS))
    ends = at_the_end(trajectories)
    power, coherence = (ends[[f"{name}_{band}" for band in bands]].to_numpy() for name in ("power", "coherence"))
    kept = coherent(np.minimum(power, 1.0), coherence)  # minimum keeps NaN, of what diverged
    ends = ends[["seed", "variant", *FIDELITIES]].assign(
        kept=kept.mean(axis=1), not_the_truths=(power - coherent(power, coherence)).mean(axis=1)
    )
    present = set(ends["variant"])
    names = [name for name in (*one_shot_methods(), "input") if name in present]
    rows = []
    for name in [*names, *ordered(filter(is_variant, present))]:
        of_method = ends[ends["variant"] == name].drop(columns="variant")
        whole = np.isfinite(of_method.to_numpy(float)).all()
        seeds = of_method.groupby("seed").mean()
        means = seeds.mean() if whole else seeds.mean() * np.nan
        row = [name, _kind(name)]
        for column in FIDELITIES:
            row += [means[column], *((seeds[column].min(), seeds[column].max()) if whole else (np.nan,) * 2)]
        found = (means["kept"], *((seeds["kept"].min(), seeds["kept"].max()) if whole else (np.nan,) * 2))
        rows.append((*row, *(_db(value) for value in found), means["not_the_truths"]))
    table = pd.DataFrame(rows, columns=list(COLUMNS[:-2]))
    able = ~table["method"].isin(SHOWN_ONLY)
    for fidelity, column in zip(FIDELITIES, COLUMNS[-2:], strict=True):
        table[column] = pareto(table[fidelity].where(able), table["sharpness_db"].where(able))
    return table


def coherent(power: np.ndarray, coherence: np.ndarray) -> np.ndarray:
    """The part of a power that a gain times the truth explains; none where it runs against the truth."""
    return np.where(coherence > 0, coherence**2, 0.0 * coherence) * power  # NaN, of what diverged, stays


def pareto(one: Sequence[float] | pd.Series, other: Sequence[float] | pd.Series) -> np.ndarray:
    """Which points no other point beats: as high in both and higher in one. Those with NaN are neither."""
    points = np.column_stack([np.asarray(one, float), np.asarray(other, float)])
    is_point: np.ndarray = ~np.any(np.isnan(points), axis=1)
    not_below = (points[None] >= points[:, None]).all(axis=2)
    above: np.ndarray = np.any(points[None] > points[:, None], axis=2)
    beaten: np.ndarray = np.any(not_below & above, axis=1)
    return is_point & ~beaten


def plane_sentences(table: pd.DataFrame) -> list[str]:
    """Who is on the front, from the most faithful to the sharpest, and how many ways to iterate; of `plane_table`."""
    if not len(table):
        return []
    iterating = table[table["method"].map(is_iterating) & table["psnr"].notna()]
    said = [f"On the Pareto front, from the most faithful to the sharpest: {_front(table, 'psnr', 'on_front')}."]
    if len(iterating):
        num, of_all = int(iterating["on_front"].sum()), f"of {len(iterating)} ways to iterate"
        none = f"None {of_all} lies on it: for each, something is as good in both and better in one"
        said.append(f"{none}." if not num else f"{num} {of_all} lie{'s' * (num == 1)} on it.")
    said.append(f"With gain and offset forgiven the front is {_front(table, 'psnr_ri', 'on_front_ri')}.")
    return said


def is_iterating(name: str) -> bool:
    """Whether a method is a way to iterate, and no control or oracle."""
    return is_variant(name) and family(name) not in NOT_ITERATING


def _front(table: pd.DataFrame, fidelity: str, column: str) -> str:
    rows = table[table[column]].sort_values([fidelity, "sharpness_db"], ascending=[False, True])
    return ", ".join(
        f"{title(name)} ({psnr:.1f} dB, sharpness {sharpness:+.1f} dB)"
        for name, psnr, sharpness in rows[["method", fidelity, "sharpness_db"]].to_numpy()
    )


def _kind(name: str) -> str:
    method = name.removesuffix(TURNED)
    if method in BASELINES:
        return "baseline"
    if method in CLASSICAL:
        return "classical control"
    if name in SHOWN_ONLY:
        return "input" if name == "input" else "oracle"
    return "way to iterate" if is_iterating(name) else "control"


def _db(share: float) -> float:
    return float(10 * np.log10(share)) if share > 0 else (-np.inf if share == 0 else np.nan)
