"""A series of blobs small enough to train on in a moment, published in a store."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dehazing.data.archive import save_series
from dehazing.data.series import Field, Series
from dehazing.pipeline.store import Store

NAME = "tiny"
T = 2


def publish(root: Path) -> Store:
    """A store that holds the series `tiny`: T = 2, 64 px, four training fields and one of each other split."""
    rng = np.random.default_rng(0)
    fields = []
    for number, split in enumerate(["train"] * 4 + ["validation", "test"]):
        clean = np.zeros((64, 64), np.float32)
        rows, columns = rng.integers(4, 60, (2, 12))
        clean[rows, columns] = 10.0
        truth = np.stack([clean + level * clean.mean() * 5 for level in range(T + 1)]).astype(np.float32)
        frames = truth + rng.normal(0, 0.1, truth.shape).astype(np.float32)
        fields.append(Field(f"{split}_{number}", split, frames, truth))
    series = Series(tuple(fields), (1.0, 4.0, 20.0), "au", (0.0,) * (T + 1), (1.0,) * (T + 1))
    store = Store(root)
    if not store.has(f"series/{NAME}"):
        save_series(series, root / "aside")
        paths = [path for path in (root / "aside").rglob("*") if path.is_file()]
        store.publish(f"series/{NAME}", {str(path.relative_to(root / "aside")): path for path in paths})
    return store
