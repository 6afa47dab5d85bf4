"""Which hyperparameter moves the objective of a study: Optuna's PED-ANOVA and fANOVA, above a floor of chance.

PED-ANOVA asks which parameters the best trials agree on; fANOVA which share of the variance over the whole space each
one explains by itself. Beside the study's own parameters stand a few random numbers that cannot matter: what they reach
is the floor, and nothing at or below it is known to matter.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import optuna
import pandas as pd
from matplotlib.figure import Figure
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator

from analysis.spaces import Space, searched

COLUMNS = ("study", "metric", "evaluator", "parameter", "role", "importance", "floor", "num_trials", "note")
EVALUATORS = {"PED-ANOVA": "#0072B2", "fANOVA": "#D55E00"}
FEWEST = 20  # trials; with fewer no number is given
FANOVA_TRIALS, FANOVA_TREES = 200, 32  # its time grows with more than the square of the trials
NUM_DUMMIES = 3
TOP = 10  # trials among the best that PED-ANOVA looks at, or a tenth where that is more


def importances(trials: pd.DataFrame, spaces: Mapping[str, Space], seed: int = 0) -> pd.DataFrame:
    """One row per study, hyperparameter and evaluator, COLUMNS; shares that sum to 1 over what is evaluated together.

    floor: the largest share of the random numbers. A parameter that exists only with some values of others is evaluated
    on the trials that have it. Where there are too few, importance is NaN and `note` says so.
    """
    rows = []
    for study, space in spaces.items():
        table, names = searched(trials, study, space)
        for members, together, having in _by_presence(table, names):
            num = len(having)
            partly = "" if num == len(table) else f"of the {num} trials that have it"
            for evaluator in EVALUATORS:
                note, shares, floor = partly, dict[str, float](), math.nan
                if num < FEWEST:
                    note = f"too few trials: {num}, and {FEWEST} are needed"
                else:
                    some = (
                        having if evaluator == "PED-ANOVA" else having.sample(min(num, FANOVA_TRIALS), random_state=0)
                    )
                    if len(some) < num:
                        note = "; ".join(text for text in (partly, f"of {len(some)} trials drawn from {num}") if text)
                    shares, floor = _evaluated(some, together, space, evaluator, seed)
                for name in members:
                    found = (shares.get(name, math.nan), floor, num, note)
                    rows.append((study, space.metric, evaluator, name, space.role(name), *found))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def importance_sentences(table: pd.DataFrame) -> list[str]:
    """What matters most in each study by both evaluators, or that it cannot be told."""
    said = []
    for study, rows in table.groupby("study", sort=False):
        known = rows.dropna(subset=["importance"])
        if not len(known):
            said.append(f"{study}: {int(rows['num_trials'].max())} trials tell nothing; {FEWEST} are needed.")
            continue
        parts = []
        for evaluator, some in known.groupby("evaluator", sort=False):
            above = some[some["importance"] > some["floor"]].sort_values("importance", ascending=False)
            above = above[above["num_trials"] == rows["num_trials"].max()]  # shares of one whole
            named = [f"{name} {100 * share:.0f} %" for name, share in above[["parameter", "importance"]].to_numpy()[:3]]
            parts.append(f"{evaluator}: {', '.join(named) or 'nothing above chance'}")
        missing = rows.loc[rows["importance"].isna(), "parameter"].unique()
        more = f"; too few trials for {', '.join(missing)}" if len(missing) else ""
        said.append(f"{study} ({rows['metric'].iloc[0]}): {'; '.join(parts)}{more}.")
    return said


def importance_figure(table: pd.DataFrame) -> Figure:
    """A panel per study, a bar per hyperparameter and evaluator, its floor as a line across; nuisance ones in italics.

    table: of `importances`, with at least one number.
    """
    known = table.dropna(subset=["importance"])
    studies = list(dict.fromkeys(known["study"]))
    columns = min(len(studies), 2)
    heights = [known[known["study"] == study]["parameter"].nunique() for study in studies]
    num_rows = -(-len(studies) // columns)
    tallest = [max(heights[row * columns : (row + 1) * columns]) for row in range(num_rows)]
    figure = Figure(figsize=(5.6 * columns, 0.9 * num_rows + 0.36 * sum(tallest)), layout="constrained")
    grid = figure.subplots(num_rows, columns, squeeze=False, gridspec_kw={"height_ratios": [n + 1.5 for n in tallest]})
    for axes, study in zip(grid.flat, studies, strict=False):
        rows = known[known["study"] == study]
        order = rows.groupby("parameter")["importance"].mean().sort_values().index
        for k, (evaluator, ink) in enumerate(EVALUATORS.items()):
            some = rows[rows["evaluator"] == evaluator].set_index("parameter").reindex(order)
            y = np.arange(len(order)) + (0.2 - 0.4 * k)
            axes.barh(y, some["importance"], 0.38, color=ink, label=evaluator)
            axes.vlines(some["floor"], y - 0.19, y + 0.19, color="black", linewidth=1.2)
        axes.set_yticks(range(len(order)), order)
        for label in axes.get_yticklabels():
            is_nuisance = (rows.loc[rows["parameter"] == label.get_text(), "role"] == "nuisance").any()
            label.set_fontstyle("italic" if is_nuisance else "normal")
        axes.set_title(f"{study}: {rows['metric'].iloc[0]}, {rows['num_trials'].max()} trials", fontsize=10, loc="left")
        axes.set_xlim(0, 1)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid.flat[len(studies) :]:
        axes.set_axis_off()
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _by_presence(table: pd.DataFrame, names: Sequence[str]) -> Iterator[tuple[list[str], list[str], pd.DataFrame]]:
    """Parameters that the same trials have, all that those trials have, and those trials."""
    groups: dict[bytes, list[str]] = {}
    for name in names:
        groups.setdefault(table[name].notna().to_numpy().tobytes(), []).append(name)
    for members in groups.values():
        having = table[table[members[0]].notna()]
        whole = [name for name in names if having[name].notna().all() and having[name].nunique() > 1]
        if set(members) <= set(whole):
            yield members, whole, having


def _evaluated(
    table: pd.DataFrame, names: Sequence[str], space: Space, evaluator: str, seed: int
) -> tuple[dict[str, float], float]:
    """Parameter → share of the sum over the parameters, and the largest share of the random numbers."""
    rng = np.random.default_rng((seed, 8191))  # of nobody else
    dummies = [f"random {k}" for k in range(NUM_DUMMIES)]
    distributions = {name: _distribution(table[name], space.ranges[name]) for name in names}
    distributions |= {name: FloatDistribution(0, 1) for name in dummies}
    values = {name: _values(table[name], distributions[name]) for name in names}
    values |= {name: list(rng.uniform(size=len(table))) for name in dummies}
    trials = [
        optuna.trial.create_trial(
            params={name: column[k] for name, column in values.items()}, distributions=distributions, value=objective
        )
        for k, objective in enumerate(table["objective"])
    ]
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # no line per study that is made here
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study = optuna.create_study(direction="maximize" if space.maximise else "minimize")
            study.add_trials(trials)
            share_of_top = min(0.5, max(0.1, TOP / len(table)))
            by_name = {
                "PED-ANOVA": lambda: PedAnovaImportanceEvaluator(target_quantile=share_of_top),
                "fANOVA": lambda: FanovaImportanceEvaluator(n_trees=FANOVA_TREES, seed=seed),
            }
            found = optuna.importance.get_param_importances(study, evaluator=by_name[evaluator](), normalize=False)
    finally:
        optuna.logging.set_verbosity(verbosity)
    total = sum(float(found[name]) for name in names) or 1.0
    return {name: float(found[name]) / total for name in names}, max(float(found[name]) for name in dummies) / total


def _distribution(values: pd.Series, domain: Mapping[str, object]) -> BaseDistribution:
    if "choices" in domain:
        return CategoricalDistribution(sorted(values.unique()))
    low, high = min(float(domain["low"]), values.min()), max(float(domain["high"]), values.max())  # type: ignore[arg-type]
    log = bool(domain.get("log", False))
    if isinstance(domain["low"], int):
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(low, high, log=log)


def _values(values: pd.Series, distribution: BaseDistribution) -> list[object]:
    if isinstance(distribution, IntDistribution):
        return [int(value) for value in values]
    return list(values)
