"""Why a loop trails: through which module its error enters, at which level and frequency, in numbers.

What is measured, dehazing/attribution.py and dehazing/error_growth.py tell. Here means over fields and seeds are taken,
with the intervals of the gap table. A share is a ratio of means: of a module's part of the error above the ceiling over
all of that error, so that fields on which little goes wrong do not count as much as those on which much does.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.gap import interval
from analysis.measures import BAND_EDGES, NUM_BANDS
from analysis.scores import values_of
from analysis.trajectories import Confirmation
from analysis.variants import BASELINES, title
from dehazing.attribution import MODULES
from dehazing.pipeline.store import open_store

STAGE = "attribution"
WHOLE = -1  # in the column `level`: all levels together
PARTS = ("error", "offset", *(f"band_{band}" for band in range(NUM_BANDS)))
PART_TITLES = ("all", "brightness", *(f"{a:g}–{b:g}" for a, b in pairwise(BAND_EDGES)))
SHARE_COLUMNS = ["variant", "module", "level", "part", "share", "ci_low", "ci_high"]
KNOWN_FROM = {"z_0": "x₀ alone", "z_0 and z_t": "x₀ and x_t, the level above", "z_0 and z_T": "x₀ and x_T"}
KNOWN_BY = {"filters": "best linear filter", "trained": "trained regressor"}


class Part(NamedTuple):
    """A mean square error, its mean over fields and seeds, and its interval."""

    text: str
    mean: float
    ci_low: float
    ci_high: float


def read_attribution(root: Path | str, confirmation: Confirmation, name: str = "attribution") -> pd.DataFrame:
    """The table of this name, attribution or growth, with the seed of each row; empty where there is none."""
    store = open_store(root)
    tables = []
    for seed, address in confirmation.get("stages", {}).get(STAGE, {}).items():
        table = pd.read_parquet(store.folder(address) / f"{name}.parquet")
        table.insert(0, "seed", int(seed))
        tables.append(table)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def read_knowable(root: Path | str, confirmation: Confirmation) -> pd.DataFrame:
    """How much of a level can be known: seed, domain, known_from, by, level, share (of its variance)."""
    store, rows = open_store(root), []
    for seed, address in confirmation.get("stages", {}).get(STAGE, {}).items():
        found = json.loads((store.folder(address) / "knowable.json").read_bytes())
        for domain, ways in found.items():
            for way, values in ways.items():
                by, _, known_from = way.replace(" on ", " of ").partition(" of ")
                rows += [
                    {
                        "seed": int(seed),
                        "domain": domain,
                        "known_from": known_from,
                        "by": by,
                        "level": s,
                        "share": value,
                    }
                    for s, value in enumerate(values, 1)
                    if known_from
                ]
    return pd.DataFrame(rows, columns=["seed", "domain", "known_from", "by", "level", "share"])


def shares(table: pd.DataFrame) -> pd.DataFrame:
    """Each module's share of its loop's error above the ceiling, and at each level, whole and in parts: SHARE_COLUMNS.

    All are shares of the whole error, so that the parts of a share add up to it (but for what the bands' window hides).
    """
    rows = []
    for variant in dict.fromkeys(table["variant"]):
        of_variant = table[table["variant"] == variant]
        whole = values_of(of_variant[of_variant["what"] == "loop"], "error")
        shared = of_variant[of_variant["what"] == "share"]
        for (module, level), members in shared.groupby(["module", "level"], sort=False):
            for part in PARTS:
                found = ratio(values_of(members, part), whole)
                rows.append((variant, module, level, part, *found))
    return pd.DataFrame(rows, columns=SHARE_COLUMNS)


def ratio(values: np.ndarray, whole: np.ndarray) -> tuple[float, float, float]:
    """mean(values) / mean(whole) over seeds and fields, (S, F) each, and its interval.

    By the ratio's linearisation: the interval is that of the mean of values - ratio · whole, over the mean of whole.
    """
    if not whole.mean() > 0:  # nothing went wrong, or something is not finite
        return (float("nan"),) * 3
    mean = values.mean() / whole.mean()
    found = interval(((values - mean * whole) / whole.mean() + mean)[None])
    return float(found.gap[0]), float(found.ci_low[0]), float(found.ci_high[0])


def apart(table: pd.DataFrame, trajectories: pd.DataFrame, variant: str = "direct") -> list[Part]:
    """Mean square errors that tell the loop's error above the ceiling from what the ceiling misses, and the baselines.

    Against what is scored against, but for the one above the ceiling, which is against the ceiling itself. The error of
    the end is the sum of both and of twice their product, which is `rest`: 0 where they have nothing in common.
    """
    of_variant = table[table["variant"] == variant]
    values = {what: values_of(of_variant[of_variant["what"] == what], "error") for what in ("ceiling", "loop", "total")}
    one_shot = trajectories[(trajectories["step"] == 0) & trajectories["variant"].isin(BASELINES)]
    rows = [(f"{title(name)}", values_of(one_shot[one_shot["variant"] == name], "mse")) for name in BASELINES]
    rows = [(text, of_baseline) for text, of_baseline in rows if of_baseline.size]
    rows += [
        ("the ceiling Dec(E(x₀))", values["ceiling"]),
        (f"{title(variant)}, at its end", values["total"]),
        ("— of it above the ceiling", values["loop"]),
        ("— what both have in common", values["total"] - values["loop"] - values["ceiling"]),
    ]
    found = interval(np.stack([of_row for _, of_row in rows]))
    return [Part(text, *map(float, of_row[:3])) for (text, _), *of_row in zip(rows, *found, strict=True)]


def knowable_rows(knowable: pd.DataFrame) -> list[tuple[str, str, str, list[str]]]:
    """Domain, from what, by what, and the share at every level s = 1 … T - 1, mean over the seeds."""
    means = knowable.groupby(["domain", "known_from", "by", "level"])["share"].mean()
    rows = []
    for domain in dict.fromkeys(knowable["domain"]):
        for known_from, words in KNOWN_FROM.items():
            for by, way in KNOWN_BY.items():
                if (domain, known_from, by) in {key[:3] for key in means.index}:
                    cells = [f"{100 * share:.0f}" for share in means.loc[domain, known_from, by]]
                    rows.append((domain, words, way, cells))
    return rows


def modules_of(table: pd.DataFrame) -> list[str]:
    """Those that have a share, in the order of MODULES."""
    return [name for name in MODULES if name in set(table["module"])]
