"""What each search promised on validation fields, beside what fresh seeds gave there and on test fields.

A search reports the best of its trials, and the best of many is partly lucky: the winner's curse. Trained again with
the same settings on fresh seeds, the stage is scored on the same validation fields, so the difference is luck alone;
from there to the test fields it is the fields that differ.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.variants import BASELINES
from dehazing.pipeline.store import Store, open_store

COLUMNS = (
    *("study", "number", "metric", "num_trials", "median", "promised", "confirmed", "confirmed_low", "confirmed_high"),
    *("test", "test_low", "test_high", "num_seeds"),
)


def promised(
    root: Path | str, confirmation: Mapping[str, Any], trials: pd.DataFrame, trajectories: pd.DataFrame
) -> pd.DataFrame:
    """One row per study and objective, COLUMNS.

    promised and median: the chosen trial's value, and the complete trials' median, on validation. confirmed: the mean
    of the fresh seeds there, low and high of the seeds; NaN for what is not trained. test: the same on test fields,
    NaN where the test has no such number.
    """
    store, rows = open_store(root), []
    for study, choice in confirmation.get("chosen", {}).items():
        values = choice["value"] if isinstance(choice["value"], list) else [choice["value"]]
        of_study = trials[trials["study"] == study]
        for value in values:
            metric = _metric(of_study, choice["number"], float(value))
            every = of_study.loc[of_study["state"] == "COMPLETE", f"metrics.{metric}"] if metric else pd.Series()
            every = every[np.isfinite(every.astype(float))]
            again = _on_validation(store, confirmation["stages"].get(study, {}), metric)
            test = _on_test(study, metric, confirmation, trajectories)
            median = float(every.median()) if len(every) else math.nan
            found = (float(value), *_spread(again), *_spread(test))
            rows.append((study, choice["number"], metric, len(every), median, *found, len(confirmation["seeds"])))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def promised_sentences(table: pd.DataFrame) -> list[str]:
    """What the search promised and what came of it, a sentence per study and objective."""
    said = []
    for row in table.to_dict("records"):
        if not row["metric"] or not (math.isfinite(row["confirmed"]) or math.isfinite(row["test"])):
            continue
        num = row["num_trials"]
        of = f"the best of {num} trials" if num > 1 else "the only trial"
        text = f"{row['study']}: {of} promised {row['metric']} {row['promised']:.2f} on validation"
        if math.isfinite(row["confirmed"]):
            change = row["confirmed"] - row["promised"]
            text += f"; fresh seeds give {row['confirmed']:.2f} there ({change:+.2f}{_range(row, 'confirmed')})"
        if math.isfinite(row["test"]):
            text += (
                f"; on test fields it is {row['test']:.2f} ({row['test'] - row['promised']:+.2f}{_range(row, 'test')})"
            )
        said.append(f"{text}.")
    return said


def _range(row: Mapping[Hashable, Any], name: str) -> str:
    return f", seeds {row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f}" if row["num_seeds"] > 1 else ""


def _metric(of_study: pd.DataFrame, number: int, value: float) -> str:
    """The objective: of the metrics that the chosen trial has with this very value the one of shortest name."""
    chosen = of_study[of_study["number"] == number]
    names = [
        str(name).removeprefix("metrics.")
        for name in of_study.columns
        if str(name).startswith("metrics.val/") and len(chosen) and chosen[name].iloc[0] == value
    ]
    return min(names, key=len, default="")


def _on_validation(store: Store, addresses: Mapping[str, str], metric: str) -> list[float]:
    found = []
    for address in addresses.values():
        if store.has(address):
            value = json.loads(store.read(address, "metrics.json"))["final"].get(metric)
            found += [] if value is None else [float(value)]
    return found


def _on_test(study: str, metric: str, confirmation: Mapping[str, Any], trajectories: pd.DataFrame) -> list[float]:
    """The same number of each seed on test fields; none where the test has no such number."""
    if metric == "val/psnr" and study in BASELINES:
        return _means(trajectories, study, first=True)
    if metric == "val/psnr" and study == "restorer":
        return _means(trajectories, "stop", first=True)
    if metric == "val/psnr_direct" and study == "degrader":
        return _means(trajectories, "direct")
    if metric == "val/ceiling" and study == "hvae":
        return _means(trajectories, f"ceiling_{confirmation['score_against']}", first=True)
    if metric == "val/gap_db" and study == "iterative":
        ends = _means(trajectories, _chosen_loop(confirmation))
        baselines = [means for name in BASELINES if (means := _means(trajectories, name, first=True))]
        return [end - max(one) for end, *one in zip(ends, *baselines, strict=True)] if ends else []
    return []


def _chosen_loop(confirmation: Mapping[str, Any]) -> str:
    """The name under which the confirmation ran the loop that the search chose."""
    params = confirmation["chosen"]["iterative"].get("params", {})
    keys = {"reference": "previous", "match": "none", "degrader": "degrader", "domain": "latents"}  # key → default
    wanted = {"variant": params.get("variant"), **{key: params.get(key, default) for key, default in keys.items()}}
    for loop in confirmation.get("loops", []):
        if all(loop.get(key, keys.get(key)) == value for key, value in wanted.items()):
            return str(loop["name"])
    return ""


def _means(trajectories: pd.DataFrame, variant: str, first: bool = False) -> list[float]:
    rows = trajectories[trajectories["variant"] == variant]
    rows = rows[rows["step"] == (rows["step"].min() if first else rows["step"].max())]
    return [float(mean) for mean in rows.groupby("seed")["psnr"].mean()]


def _spread(values: list[float]) -> tuple[float, float, float]:
    return (float(np.mean(values)), min(values), max(values)) if values else (math.nan,) * 3
