"""What of an experiment goes home: its own files, and what the store has of its confirmation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dehazing.pipeline.store import MANIFEST, Store, open_store
from studies.confirm import ATTRIBUTION

FETCHED = "fetched.json"  # in an experiment's folder at home: where it is from
LEFT = (FETCHED, "tracked.json")  # the latter says that MLflow has it all: the one there, not the one at home


@dataclass(frozen=True)
class Contents:
    """Files below two folders of one machine, by their names there, which stay the same at home.

    root: the results folder; store: that of the stages, or the cache of an object store.
    """

    experiment: str
    root: str
    files: list[str]
    store: str
    stages: list[str]
    manifests: list[str]
    num_bytes: int


def contents_of(root: Path, experiment: str, every_seed: bool = False) -> Contents:
    """What there is of a confirmed experiment; what lies in an object store is brought to this machine first.

    Of the first seed everything that was trained, of the others only what the report is made from, or all with
    every_seed. ValueError where something of it is gone or damaged.
    """
    confirmation = json.loads((root / experiment / "confirm.json").read_bytes())
    store = open_store(root)
    stages, manifests, num_bytes = [], [], 0
    for address in addresses(confirmation, store, every_seed):
        folder = store.folder(address)
        published = store.published(address)["files"]
        num_bytes += sum(entry["size"] for entry in published.values())
        stages += [(folder / name).relative_to(store.root).as_posix() for name in published]
        manifests.append((folder / MANIFEST).relative_to(store.root).as_posix())
    found = [path for path in sorted((root / experiment).rglob("*")) if path.is_file()]
    files = [path for path in found if path.name not in LEFT and path.suffix != ".tmp"]
    names = [path.relative_to(root).as_posix() for path in files]
    num_bytes += sum(path.stat().st_size for path in files)
    return Contents(experiment, str(root), names, str(store.root), stages, manifests, num_bytes)


def addresses(confirmation: Mapping[str, Any], store: Store, every_seed: bool) -> list[str]:
    """What the confirmation is made of, each once; the series only where the store has it."""
    first = str(confirmation["seeds"][0])
    series = f"series/{confirmation['dataset']}"
    named = [series] if store.has(series) else []
    for name, by_seed in [*confirmation["stages"].items(), ("iterative", confirmation["iterative"])]:
        reported = name in ("iterative", ATTRIBUTION)
        named += [address for seed, address in by_seed.items() if seed == first or reported or every_seed]
    return list(dict.fromkeys(named))
