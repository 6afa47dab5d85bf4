"""A series on disk: its arrays as safetensors, everything else as readable JSON; nothing is pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from dehazing.data.series import Field, Imaging, Series

ARRAYS = "series.safetensors"
RECORD = "series.json"


def save_series(series: Series, folder: Path) -> None:
    """Writes `series.safetensors` (frames/<field>, truth/<field>, each (T + 1, Y, X), and psf) and `series.json`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {}
    for field in series.fields:
        arrays[f"frames/{field.name}"] = np.ascontiguousarray(field.frames, np.float32)
        if field.truth is not None:
            arrays[f"truth/{field.name}"] = np.ascontiguousarray(field.truth, np.float32)
    record = {entry.name: getattr(series, entry.name) for entry in fields(series) if entry.name != "fields"}
    if series.imaging is not None:
        arrays["psf"] = np.ascontiguousarray(series.imaging.psf, np.float32)
        record["imaging"] = {"dark": series.imaging.dark}
    save_file(arrays, folder / ARRAYS)
    record["pinholes"] = [str(pinhole) for pinhole in series.pinholes]  # JSON has no infinity
    record["fields"] = [{"name": field.name, "split": field.split} for field in series.fields]
    (folder / RECORD).write_text(json.dumps(record, indent=1, allow_nan=False), encoding="utf-8")


def load_series(folder: Path) -> Series:
    """The series that `save_series` wrote into a folder, equal to the bit."""
    return _loaded(Path(folder), _record(folder)["fields"])


def load_training(folder: Path, num_fields: int) -> Series:
    """The same with the first training fields alone, so that memory stays bounded."""
    training = [entry for entry in _record(folder)["fields"] if entry["split"] == "train"]
    return _loaded(Path(folder), training[:num_fields])


def _record(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((Path(folder) / RECORD).read_text(encoding="utf-8"))
    return record


def _loaded(folder: Path, entries: Sequence[Mapping[str, str]]) -> Series:
    record = _record(folder)
    with safe_open(folder / ARRAYS, "numpy") as file:
        there = set(file.keys())
        names = [f"{kind}/{entry['name']}" for kind in ("frames", "truth") for entry in entries]
        arrays = {name: file.get_tensor(name) for name in (*names, "psf") if name in there}
    record["fields"] = tuple(
        Field(entry["name"], entry["split"], arrays[f"frames/{entry['name']}"], arrays.get(f"truth/{entry['name']}"))
        for entry in entries
    )
    record["pinholes"] = tuple(float(pinhole) for pinhole in record["pinholes"])
    for name in ("offset", "scale", "notes"):
        record[name] = tuple(record[name])
    if record.get("imaging") is not None:
        record["imaging"] = Imaging(arrays["psf"], **record["imaging"])
    return Series(**record)
