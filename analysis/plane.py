"""Fidelity against sharpness: every method as a point, and the Pareto front of those that nothing beats in both.

Sharpness is the coherent power of a restoration in the upper half of the passband, after a band that has more power
than the truth is scaled down to the truth's; in dB, 0 as the truth. Of a band's power p (over the truth's) with
coherence c the part c² is what a gain times the truth explains, none where c is negative: c² · min(p, 1). Noise adds
nothing to it. While a band has no more power than the truth, it takes nothing either; beyond that noise costs: the
truth with as much noise again is at -3 dB, though all of the truth is in it. Nor does an excess add: a loop that runs
away has no more than its c². What is left, p - c² p, is power that is not the truth's: noise or invented detail.

The front is of the means over fields and seeds; who may have a place instead, `analysis.front` tells from paired gaps.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.blur import MARGINS, upper_bands
from analysis.facts import NOT_ITERATING
from analysis.front import Rivals, pareto, rivals
from analysis.gap import MARGIN_DB
from analysis.scores import at_the_end, values_of
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
    *("sharpness_db", "sharpness_db_low", "sharpness_db_high", "not_the_truths", "num_seeds"),
    *("on_front", "tied", "rivals", "on_front_ri", "tied_ri", "rivals_ri"),
)
ENDS = {"psnr": "", "psnr_ri": "_ri"}  # of the columns of each front
NUM_NAMED = 3  # rivals of one method


def plane_table(trajectories: pd.DataFrame, passband: float) -> pd.DataFrame:
    """One row per method, COLUMNS: means over fields and seeds at T, or at a loop's last step; low and high of seeds.

    not_the_truths: share of the truth's power in the upper half of the passband. on_front: by the means; of those on
    it, tied are who ties with them in both (names, one space apart), rivals who else is not shown to be worse in
    either, by `analysis.front.rivals`; the columns that end in _ri are of the front with psnr_ri. A method that is not
    finite has NaN. Empty where spectra were not measured.
    """
    bands = upper_bands(passband)
    columns = [f"{quantity}_{band}" for quantity in ("power", "coherence") for band in bands]
    if not {*columns, *FIDELITIES} <= set(trajectories.columns):
        return pd.DataFrame(columns=list(COLUMNS))
    ends = at_the_end(trajectories)
    power, coherence = (ends[[f"{name}_{band}" for band in bands]].to_numpy() for name in ("power", "coherence"))
    kept = coherent(np.minimum(power, 1.0), coherence)  # minimum keeps NaN, of what diverged
    ends = ends[["seed", "field", "variant", *FIDELITIES]].assign(
        kept=kept.mean(axis=1), not_the_truths=(power - coherent(power, coherence)).mean(axis=1)
    )
    present = set(ends["variant"])
    names = [name for name in (*one_shot_methods(), "input") if name in present]
    rows, scores = [], {}
    for name in [*names, *ordered(filter(is_variant, present))]:
        of_method = ends[ends["variant"] == name]
        numbers = of_method.drop(columns=["variant", "seed", "field"])
        whole = np.isfinite(numbers.to_numpy(float)).all()
        seeds = numbers.groupby(of_method["seed"]).mean()
        means = seeds.mean() if whole else seeds.mean() * np.nan
        if whole and name not in SHOWN_ONLY:
            scores[name] = {column: values_of(of_method, column) for column in (*FIDELITIES, "kept")}
        row = [name, _kind(name)]
        for column in FIDELITIES:
            row += [means[column], *((seeds[column].min(), seeds[column].max()) if whole else (np.nan,) * 2)]
        found = (means["kept"], *((seeds["kept"].min(), seeds["kept"].max()) if whole else (np.nan,) * 2))
        rows.append((*row, *(_db(value) for value in found), means["not_the_truths"], len(seeds)))
    return _with_fronts(pd.DataFrame(rows, columns=list(COLUMNS[:-6])), scores)


def coherent(power: np.ndarray, coherence: np.ndarray) -> np.ndarray:
    """The part of a power that a gain times the truth explains; none where it runs against the truth."""
    return np.where(coherence > 0, coherence**2, 0.0 * coherence) * power  # NaN, of what diverged, stays


def plane_sentences(table: pd.DataFrame) -> list[str]:
    """Who is on the front, from the most faithful to the sharpest, and how many ways to iterate; of `plane_table`."""
    if not len(table):
        return []
    if not table["on_front"].any():
        return ["No restoration came to its end with finite numbers, so there is no front."]
    said = [f"On the Pareto front of the means, from the most faithful to the sharpest: {_front(table, 'psnr')}."]
    iterating = table[table["method"].map(is_iterating) & table["psnr"].notna()]
    on_front = iterating[iterating["on_front"]]
    if len(iterating):
        num, of_all = len(on_front), f"of {len(iterating)} ways to iterate"
        as_stop = sum("stop" in tied.split() for tied in on_front["tied"])
        but = f", {as_stop} of them tied with stop, a single step" if as_stop else ""
        none = f"None {of_all} lies on it: for each, some mean is as high in both and higher in one."
        said.append(f"{num} {of_all} lie{'s' * (num == 1)} on it{but}." if num else none)
    said.append(f"With gain and offset forgiven the front is {_front(table, 'psnr_ri')}.")
    if table["num_seeds"].iloc[0] < 3:
        return [*said, "With fewer than three seeds it is not decided who is on either."]
    unsure = (table[["tied", "rivals", "tied_ri", "rivals_ri"]] != "").to_numpy().any()
    every = "For each of these, every other method is shown to be worse in fidelity or in sharpness"
    whom = ", but for those named in its brackets" if unsure else ""
    margins = f"{MARGIN_DB:g} dB and {100 * MARGINS['power_kept']:.0f} % of the truth's power"
    return [*said, f"{every}{whom} (paired 95 % intervals, each for itself; less than {margins} is a tie)."]


def is_iterating(name: str) -> bool:
    """Whether a method is a way to iterate, and no control or oracle."""
    return is_variant(name) and family(name) not in NOT_ITERATING


def _with_fronts(table: pd.DataFrame, scores: Mapping[str, Mapping[str, np.ndarray]]) -> pd.DataFrame:
    """The table with the columns of both fronts; scores: method → psnr, psnr_ri, kept, (S, F) each, of the finite."""
    able, margins = ~table["method"].isin(SHOWN_ONLY), (MARGIN_DB, MARGINS["power_kept"])
    for fidelity, end in ENDS.items():
        on_front = pareto(table[fidelity].where(able), table["sharpness_db"].where(able))
        pairs = {name: np.stack([of_method[fidelity], of_method["kept"]]) for name, of_method in scores.items()}
        is_on = zip(table["method"], on_front, strict=True)
        unsure = [rivals(name, pairs, margins) if on else Rivals([], []) for name, on in is_on]
        table[f"on_front{end}"] = on_front
        table[f"tied{end}"] = [" ".join(found.tied) for found in unsure]
        table[f"rivals{end}"] = [" ".join(found.others) for found in unsure]
    return table[list(COLUMNS)]


def _front(table: pd.DataFrame, fidelity: str) -> str:
    end = ENDS[fidelity]
    rows = table[table[f"on_front{end}"]].sort_values([fidelity, "sharpness_db"], ascending=[False, True])
    entries = []
    for row in rows.to_dict("records"):
        numbers = f"{row[fidelity]:.1f} dB, sharpness {row['sharpness_db']:+.1f} dB"
        unsure = _unsure(row[f"tied{end}"], row[f"rivals{end}"]) if row["num_seeds"] >= 3 else ""
        entries.append(f"{title(row['method'])} ({numbers}{unsure})")
    return ", ".join(entries)


def _unsure(tied: str, others: str) -> str:
    """ "; tied with stop; perhaps no better than HDN, NAFNet and 2 more" """
    said = ""
    for words, names in (("tied with", tied.split()), ("perhaps no better than", others.split())):
        names = sorted(names, key=lambda name: name != "stop")  # the one that tells most is named in any case
        named = [title(name) for name in names[:NUM_NAMED]]
        if len(names) > NUM_NAMED:
            named.append(f"{len(names) - NUM_NAMED} more")
        if named:
            said += f"; {words} {', '.join(named[:-1])}{' and ' * (len(named) > 1)}{named[-1]}"
    return said


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
