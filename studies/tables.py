"""`table` and `compare`: an experiment's tables as files, and two runs side by side."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from dehazing.pipeline.store import Store, open_store, writing
from dehazing.strict import nearest
from studies import asking
from studies.recorded import find

TABLES = ("trials", "trajectories", "gap", "measures")  # worked out anew; the others are as the report has them
WITHOUT_MEANING = ("seconds", "device", "num_threads")  # of a trial's final metrics: not what was asked


def add_table(parser: argparse.ArgumentParser) -> None:
    """Options of `table`."""
    what = f"{', '.join(TABLES)}, or any that lies as CSV in the report's folder or its figures; default: trials"
    parser.add_argument("table", nargs="?", default="trials", help=what)
    asking.add_experiment(parser)
    parser.add_argument("--format", choices=("parquet", "csv"), default="csv", help="default: csv")
    parser.add_argument("--out", metavar="FILE", help="default: EXPERIMENT-TABLE.FORMAT here; - prints it as CSV")


def table(arguments: argparse.Namespace) -> int:
    """Write one table of an experiment, to a file or to the terminal.

    Those of TABLES as the experiment stands now, the trials of one that was not confirmed, too.
    """
    root = arguments.storage.expanduser().resolve()
    name = chosen_experiment(root, arguments.experiment)
    rows = _rows(arguments.table, root, name)
    if arguments.out == "-":
        if arguments.format == "parquet":
            raise ValueError("Parquet is not for a terminal: --out must name a file, but is -.")
        rows.to_csv(sys.stdout, index=False)
        return 0
    path = Path(arguments.out or f"{name}-{arguments.table}.{arguments.format}").expanduser().resolve()
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        if arguments.format == "csv":
            rows.to_csv(path, index=False)
        else:
            rows.to_parquet(path, index=False)
    print(f"{len(rows)} rows  {path}")
    return 0


def add_compare(parser: argparse.ArgumentParser) -> None:
    """Options of `compare`."""
    what = "STUDY/NUMBER such as degrader/3, kind/fingerprint, the id of an MLflow run, or a confirmed experiment"
    parser.add_argument("first", metavar="RUN", help=what)
    parser.add_argument("second", metavar="RUN", help="the same")
    asking.add_experiment(parser)


def compare(arguments: argparse.Namespace) -> int:
    """Show which settings of two runs differ, their metrics, and the gap between them, paired where it can be."""
    from analysis.comparison import comparison_text

    root = arguments.storage.expanduser().resolve()
    first, second = (_run(word, root, arguments.experiment) for word in (arguments.first, arguments.second))
    print(comparison_text(first, second))
    return 0


def chosen_experiment(root: Path, asked: str | None) -> str:
    """The experiment that is asked for, or the only one; ValueError where there is none or no telling which."""
    found = sorted(path.parent.name for path in root.glob("*/trials.json"))
    if not found:
        raise ValueError(f"{root} holds no experiment with trials; `python -m studies run all` makes one.")
    if asked is None and len(found) > 1:
        raise ValueError(f"{root} holds several experiments, choose one by --experiment: {', '.join(found)}.")
    if asked is not None and asked not in found:
        raise ValueError(f"{root} holds no experiment `{asked}`; the nearest is `{nearest(asked, found)}`.")
    return asked or found[0]


def _reported(folder: Path) -> dict[str, Path]:
    """The tables of a report's folder by their names, those beside the page before those behind its figures."""
    found = [*sorted(folder.glob("*.csv")), *sorted(folder.glob("figures/*.csv"))]
    return {path.stem: path for path in reversed(found) if path.stem not in TABLES}


def _rows(name: str, root: Path, experiment: str) -> pd.DataFrame:
    from analysis.gap import gaps
    from analysis.measures import measures
    from analysis.starts import from_T
    from analysis.trajectories import read_confirmation, read_refused, read_trajectories
    from analysis.trials import read_trials

    if name not in TABLES:
        reported = _reported(root / experiment / "report")
        if name not in reported:
            missing = "" if reported else "; `python -m studies report` writes more"
            raise ValueError(
                f"A table of {experiment} is one of {', '.join((*TABLES, *sorted(reported)))}{missing}, but got "
                f"{name!r}; the nearest is `{nearest(name, (*TABLES, *reported))}`."
            )
        return pd.read_csv(reported[name], low_memory=False)
    if name == "trials":
        return read_trials(root, experiment)
    confirmation = read_confirmation(root, experiment)
    trajectories = read_trajectories(root, confirmation)
    if name == "gap":
        return gaps(trajectories)
    if name == "trajectories":
        return trajectories
    return measures(from_T(trajectories), read_refused(root, confirmation))


def _run(word: str, root: Path, experiment: str | None) -> Any:
    from analysis.comparison import Run

    if re.fullmatch(r"[0-9a-f]{32}", word):
        word, experiment = _of_mlflow(word, root)
    if "/" not in word:
        return _experiment(word, root)
    store = open_store(root)
    recorded = find(word, root, store, experiment)
    execution = recorded.executions[-1]
    settings: dict[str, Any] = {one.kind: dict(one.config) for one in recorded.executions[:-1]}
    own = dict(execution.config)
    if len(own.get("configurations", ())) == 1:
        own |= own.pop("configurations")[0]
    settings |= {**own, "seed": execution.seed, "dataset": execution.dataset}
    if not store.has(recorded.address):
        return Run(word, settings)
    final = json.loads(store.read(recorded.address, "metrics.json"))["final"]
    numbers = {k: v for k, v in final.items() if isinstance(v, (int, float)) and k not in WITHOUT_MEANING}
    return Run(word, settings, numbers, _scores(store, recorded.address, execution.kind, execution.seed))


def _scores(store: Store, address: str, kind: str, seed: int) -> pd.DataFrame:
    """What an evaluation scored, its ways to iterate alone; empty of a stage that is none."""
    from analysis.variants import are_variants

    if kind != "iterative":
        return pd.DataFrame()
    rows = pd.read_parquet(store.folder(address) / "evaluation.parquet")
    return rows[are_variants(rows["variant"])].assign(seed=seed)


def _experiment(name: str, root: Path) -> Any:
    from analysis.comparison import Run
    from analysis.trajectories import read_confirmation, read_trajectories
    from analysis.variants import BASELINES, are_variants

    found = sorted(path.parent.name for path in root.glob("*/confirm.json"))
    if name not in found:
        hint = f"; the nearest is `{nearest(name, found)}`" if found else ", and none at all"
        raise ValueError(f"{root} holds no confirmed experiment `{name}`{hint}.")
    confirmation = read_confirmation(root, name)
    rows = read_trajectories(root, confirmation)
    one_shot = rows[(rows["step"] == 0) & ~are_variants(rows["variant"])]
    kept = [*BASELINES, "input", "ceiling_truth", "ceiling_frame"]
    metrics = one_shot[one_shot["variant"].isin(kept)].groupby("variant", sort=False)["psnr"].mean()
    told = ("scale", "dataset", "seeds", "T", "pinholes", "score_against", "git_commit")
    settings: dict[str, Any] = {key: confirmation[key] for key in told if key in confirmation}
    settings |= {study: choice.get("params", {}) for study, choice in confirmation.get("chosen", {}).items()}
    settings |= {
        f"loop {loop['name']}": {k: v for k, v in loop.items() if k != "name"} for loop in confirmation["loops"]
    }
    numbers = {f"PSNR of {variant}": float(value) for variant, value in metrics.items()}
    return Run(name, settings, numbers, rows[are_variants(rows["variant"])])


def _of_mlflow(run_id: str, root: Path) -> tuple[str, str]:
    """STUDY/NUMBER and the experiment of the trial that has this run."""
    for path in sorted(root.glob("*/trials.json")):
        for record in json.loads(path.read_bytes()):
            if record.get("mlflow_run_id") == run_id:
                return f"{record['study']}/{record['number']}", path.parent.name
    raise ValueError(f"No trial in {root} has the MLflow run {run_id}.")
