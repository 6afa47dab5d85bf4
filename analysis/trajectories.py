"""What the confirmation wrote: scores of every variant, seed, field and step; one-step errors; example images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from safetensors.numpy import load_file

from analysis.starts import with_start
from dehazing.pipeline.store import open_store

Confirmation = dict[str, Any]  # confirm.json as it stands


def read_confirmation(root: Path | str, experiment: str) -> Confirmation:
    """What an experiment's confirm.json says: seeds, T, dataset, and which execution made what."""
    path = Path(root) / experiment / "confirm.json"
    if not path.is_file():
        raise ValueError(
            f"A report needs a confirmed experiment, but {path} is not there: "
            f"`python -m studies run all` writes it at its end."
        )
    return json.loads(path.read_bytes())


def read_trajectories(root: Path | str, confirmation: Confirmation) -> pd.DataFrame:
    """One row per variant x seed x field x step: seed, variant, field, step, level, start and every metric.

    Step k = 0 … start - 1 is the prediction at level t = start - k; start is T but for the loops that begin lower. The
    baselines, the input and the ceilings are in `variant` too. What every metric is, dehazing/stages/scores.py tells.
    """
    store = open_store(root)
    tables = []
    for seed, address in confirmation["iterative"].items():
        table = pd.read_parquet(store.folder(address) / "evaluation.parquet")
        table.insert(0, "seed", int(seed))
        tables.append(table)
    if not tables:
        raise ValueError("A report needs at least one confirmed seed, but the experiment has none.")
    return with_start(pd.concat(tables, ignore_index=True))


def read_refused(root: Path | str, confirmation: Confirmation) -> dict[str, str]:
    """Column of `read_trajectories` → why its metric was refused on a field, as the evaluations' metadata tell it."""
    store, reasons = open_store(root), dict[str, str]()
    for address in confirmation["iterative"].values():
        said = pq.read_schema(store.folder(address) / "evaluation.parquet").metadata or {}
        reasons = json.loads(said.get(b"refused", b"{}")) | reasons
    return reasons


def chosen_is_blind(confirmation: Confirmation) -> bool:
    """Whether the degrader that the search chose is the source's form: in latents, it sees nothing but z_0."""
    chosen = confirmation.get("chosen", {}).get("degrader", {})
    config = chosen.get("config", {})
    in_latents = config.get("domain", "latents") == "latents"
    return in_latents and config.get("anchor", "none" if chosen else "") == "none"


def read_latent_space(root: Path | str, confirmation: Confirmation) -> pd.DataFrame:
    """What every latent group is good for: seed, level, group (1 the finest), psnr, psnr_lost (dB), outside (share).

    dehazing/stages/latent_space.py tells what each is. Empty where the evaluations did not measure it.
    """
    store = open_store(root)
    tables = []
    for seed, address in confirmation["iterative"].items():
        path = store.folder(address) / "latent_space.json"
        rows = json.loads(path.read_bytes()) if path.is_file() else []
        columns = ["level", "group", "psnr", "psnr_lost", "outside"]
        tables.append(pd.DataFrame(rows, columns=columns).assign(seed=int(seed)))
    return pd.concat(tables, ignore_index=True)[["seed", "level", "group", "psnr", "psnr_lost", "outside"]]


def read_one_step_errors(root: Path | str, confirmation: Confirmation) -> pd.DataFrame:
    """Mean-square standardised error of one step from the true z_0 to level s: seed, degrader, level, error.

    Of the degraders in latents; errors in pixels are in another unit. The degrader that the search chose is `blind`
    where it is blind and no control has that name already, else `degrader`.
    """
    store = open_store(root)
    tables = []
    for seed, address in confirmation["iterative"].items():
        path = store.folder(address) / "one_step.json"
        rows = json.loads(path.read_bytes()) if path.is_file() else []
        rows = [row for row in rows if row.get("domain", "latents") == "latents"]
        tables.append(pd.DataFrame(rows, columns=["degrader", "level", "error"]).assign(seed=int(seed)))
    table = pd.concat(tables, ignore_index=True)[["seed", "degrader", "level", "error"]]
    if chosen_is_blind(confirmation) and "blind" not in set(table["degrader"]):
        table["degrader"] = table["degrader"].replace("degrader", "blind")
    return table


def read_records(root: Path | str, confirmation: Confirmation, name: str) -> dict[int, dict[str, Any]]:
    """Seed → what its evaluation told beside the table in <name>.json, for the seeds that have it."""
    store = open_store(root)
    paths = {int(s): store.folder(address) / f"{name}.json" for s, address in confirmation["iterative"].items()}
    return {seed: json.loads(path.read_bytes()) for seed, path in paths.items() if path.is_file()}


def read_examples(root: Path | str, confirmation: Confirmation) -> dict[str, np.ndarray]:
    """Example images of the first seed of K fields: "input", "truth", "<variant>" (K, Y, X), "<variant>/steps"
    (steps, K, Y, X).
    """
    address = next(iter(confirmation["iterative"].values()))
    path = open_store(root).folder(address) / "examples.safetensors"
    return load_file(path) if path.is_file() else {}
