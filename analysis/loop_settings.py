"""The loop's own settings: the schedules of α_t that were tried and confirmed, and what refining more often brings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import quiet
from analysis.spaces import Space, searched
from analysis.variants import colour, title
from dehazing.schedules import combine_alpha

ALPHA = "params.alpha/"


def alpha_schedules(confirmation: Mapping[str, Any], trials: pd.DataFrame, spaces: Mapping[str, Space]) -> pd.DataFrame:
    """α_t of Eq. 22-23 of every complete trial and every confirmed loop that combines: from, name, objective, t, alpha.

    from: trial | confirmed; name: the trial's number, or the loop's name. objective: of a trial.
    """
    T, rows = int(confirmation["T"]), list[dict[str, Any]]()
    for study, space in spaces.items():
        of_study = trials[trials["study"] == study]
        if f"{ALPHA}kind" not in of_study or f"metrics.{space.metric}" not in of_study:
            continue
        kept = of_study[(of_study["state"] == "COMPLETE") & of_study[f"{ALPHA}kind"].notna()]
        columns = [column for column in kept.columns if str(column).startswith(ALPHA)]
        for record in kept.to_dict("records"):
            alpha = {str(key).removeprefix(ALPHA): record[key] for key in columns if pd.notna(record[key])}
            at = {"from": "trial", "name": str(record["number"]), "objective": record[f"metrics.{space.metric}"]}
            rows += _curve(at, alpha, str(record.get("params.direction", "rising")), T)
    for loop in confirmation.get("loops", []):
        if str(loop.get("variant", "")).startswith("combine"):
            at = {"from": "confirmed", "name": loop["name"], "objective": float("nan")}
            rows += _curve(at, loop.get("alpha", {"kind": "sigmoid"}), loop.get("direction", "rising"), T)
    return pd.DataFrame(rows, columns=["from", "name", "objective", "t", "alpha"])


def alpha_figure(table: pd.DataFrame) -> Figure:
    """Left: what was tried, the darker the better; right: what was confirmed. The loop runs to the right.

    table: of `alpha_schedules`.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    tried = table[table["from"] == "trial"]
    best_first = tried.drop_duplicates("name").sort_values("objective", ascending=False)["name"]
    for rank, name in reversed(list(enumerate(best_first))):
        rows = tried[tried["name"] == name]
        strength = 1 - rank / max(len(best_first), 1)
        left.plot(rows["t"], rows["alpha"], color="#0072B2", alpha=0.1 + 0.9 * strength**3, linewidth=0.6 + strength)
    left.set_title(f"tried in {len(best_first)} trials, the darker the better", fontsize=10, loc="left")
    confirmed = table[table["from"] == "confirmed"]
    names = list(dict.fromkeys(confirmed["name"]))
    for k, name in enumerate(names):
        rows = confirmed[confirmed["name"] == name]
        style = ("-", "--", ":", "-.")[k % 4]
        right.plot(
            rows["t"], rows["alpha"], color=f"C{k}", linestyle=style, marker="o", markersize=3, label=title(name)
        )
    right.set_title("confirmed", fontsize=10, loc="left")
    for axes in (left, right):
        levels = sorted(table["t"].unique())
        axes.set_xlim(max(levels) + 0.1, min(levels) - 0.1)
        axes.set_xticks(levels)
        axes.set_xlabel("level t, from which the loop steps to t − 1")
        quiet(axes)
    left.set_ylabel("α: share of the new latent")
    if names:
        right.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def refinements(trials: pd.DataFrame, spaces: Mapping[str, Space]) -> pd.DataFrame:
    """What the trials of each variant reach with K refinements: study, metric, variant, K, num_trials, best, median.

    K = 0 is `direct`, which every refinement is without one.
    """
    rows = []
    for study, space in spaces.items():
        if "num_refinements" not in space.ranges or "variant" not in space.ranges:
            continue
        table, _ = searched(trials, study, Space(space.metric, space.maximise, space.ranges, frozenset(), True))
        of_study = trials[trials["study"] == study].set_index("number")
        for name in ("variant", "num_refinements"):
            table[name] = table["number"].map(of_study[f"params.{name}"]) if f"params.{name}" in of_study else np.nan
        best = "max" if space.maximise else "min"
        table["K"] = table["num_refinements"].astype(float).where(table["variant"] != "direct", 0.0)
        having = table.dropna(subset=["K"]).astype({"K": int})
        for (variant, K), members in having.groupby(["variant", "K"]):
            found = (len(members), float(members["objective"].agg(best)), float(members["objective"].median()))
            rows.append((study, space.metric, str(variant), K, *found))
    return pd.DataFrame(rows, columns=["study", "metric", "variant", "K", "num_trials", "best", "median"])


def refinements_figure(table: pd.DataFrame) -> Figure:
    """Best objective of each refinement by its number, from `direct` at 0; open marks are medians of the trials.

    table: of `refinements`, of one study.
    """
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.subplots()
    start = table[table["K"] == 0]
    for k, variant in enumerate(sorted(name for name in set(table["variant"]) if name != "direct")):
        rows = pd.concat([start, table[table["variant"] == variant]]).sort_values("K")
        style = ("-", "--", ":")[k % 3]
        axes.plot(rows["K"], rows["best"], color=colour(variant), linestyle=style, marker="o", label=title(variant))
        axes.plot(rows["K"], rows["median"], "o", color=colour(variant), markerfacecolor="none", markersize=5)
    axes.set_xticks(sorted(table["K"].unique()))
    axes.set_xlabel("refinements K in every step (0: direct)")
    axes.set_ylabel(table["metric"].iloc[0])
    quiet(axes)
    axes.legend(frameon=False, fontsize=9)
    return figure


def _curve(at: Mapping[str, Any], alpha: Mapping[str, Any], direction: str, T: int) -> list[dict[str, Any]]:
    values = combine_alpha(dict(alpha), T, direction).tolist()
    return [{**at, "t": t, "alpha": values[t]} for t in range(T, 1, -1)]  # at t = 1 nothing is combined any more
