"""Every trial of every study as one row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from dehazing.pipeline.store import Store, open_store

IDENTITY = ("study", "stage", "number", "state", "fingerprint", "upstreams", "mlflow_run_id", "seed")
RUN = ("seconds", "device", "reason")


def read_trials(root: Path | str, experiment: str) -> pd.DataFrame:
    """The trials of an experiment, one row each, in the order of study and number.

    Columns: study, stage, number, state, fingerprint, upstreams (JSON, role to address), mlflow_run_id, seed,
    seconds, device, reason (why a trial failed or was stopped), then "params.<name>" as the search space names it
    (MLflow has "nuisance/<name>" where the study does not ask about it) and "metrics.<name>" as MLflow names it, too.
    Metrics, seconds and device that a record does not hold are those that its stage published.
    """
    path = Path(root) / experiment / "trials.json"
    records = json.loads(path.read_bytes()) if path.is_file() else []
    store = open_store(root)
    table = pd.DataFrame([_row(record, store) for record in records])
    table = table.reindex(columns=[*IDENTITY, *RUN, *sorted(set(table.columns) - {*IDENTITY, *RUN})])
    for name in table.columns:
        table[name] = _of_one_type(table[name])
    return table.sort_values(["study", "number"], ignore_index=True)


def _row(record: dict[str, Any], store: Store) -> dict[str, Any]:
    published = _published(record, store)
    metrics = {**published.get("final", {}), **(record.get("metrics") or {})}
    row = {name: record.get(name) for name in (*IDENTITY, *RUN)}
    row["upstreams"] = json.dumps(record.get("upstreams") or {}, sort_keys=True)
    for name in ("seconds", "device"):
        row[name] = published.get(name) if row[name] is None else row[name]
    row |= {f"params.{name}": value for name, value in (record.get("params") or {}).items()}
    # what Tune reports carries the configuration flattened beside the metrics; params and config.json have it already
    row |= {f"metrics.{name}": value for name, value in metrics.items() if not name.startswith("config/")}
    return row


def _published(record: dict[str, Any], store: Store) -> dict[str, Any]:
    """The metrics.json of a trial's stage, or {} where it published none: failed, stopped early, still running."""
    fingerprint = record.get("fingerprint")
    if not fingerprint:
        return {}
    address = fingerprint if "/" in fingerprint else f"{record['stage']}/{fingerprint}"
    return json.loads((store.folder(address) / "metrics.json").read_bytes()) if store.has(address) else {}


def _of_one_type(column: pd.Series) -> pd.Series:
    """A column that parquet can hold: studies may give one name to numbers here and words there."""
    kinds = {type(value) for value in column.dropna()}
    if kinds == {bool}:
        return column.astype("boolean")
    if kinds == {int}:
        return column.astype("Int64")
    if kinds and kinds <= {int, float}:
        return column.astype(float)
    if len(kinds) > 1 or kinds & {list, dict}:
        return column.map(lambda value: value if isinstance(value, str) else json.dumps(value), na_action="ignore")
    return column
