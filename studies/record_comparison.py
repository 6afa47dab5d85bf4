"""Two results of one execution beside each other: final metrics, every epoch's, and the files that were published."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import safetensors.torch

from dehazing.pipeline.store import Store

RECORDS = ("config.json", "metrics.json")  # whose content is compared by meaning: seconds differ
NOT_COMPARED = ("seconds",)


@dataclass(frozen=True)
class Row:
    """One thing that was compared; difference: the largest, 0 where they are the same, inf where it is no number."""

    what: str
    recorded: str
    now: str
    difference: float


def compare(store: Store, recorded: str, scratch: Store, now: str) -> list[Row]:
    """Everything that two published addresses have but the time they took."""
    one, other = (json.loads(s.read(a, "metrics.json")) for s, a in ((store, recorded), (scratch, now)))
    rows = [
        _number(name, one["final"].get(name), other["final"].get(name)) for name in {**one["final"], **other["final"]}
    ]
    return rows + compare_epochs(one["history"], other["history"]) + _files(store, recorded, scratch, now)


def compare_epochs(recorded: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> list[Row]:
    """A row for each metric that epochs have, with the epoch where it differs most."""
    rows = []
    if len(recorded) != len(now):
        rows.append(Row("number of epochs", str(len(recorded)), str(len(now)), abs(len(recorded) - len(now))))
    names = dict.fromkeys(name for epoch in (*recorded, *now) for name in epoch if name not in NOT_COMPARED)
    for name in names:
        each = [
            _number(f"{name}, epoch {one.get('epoch')}", one.get(name), other.get(name))
            for one, other in zip(recorded, now, strict=False)
        ]
        worst = max(each, key=lambda row: row.difference, default=None)
        if worst is not None and worst.difference:
            rows.append(worst)
        elif worst is not None and name not in ("epoch", "num_epochs"):
            rows.append(Row(f"{name}, {len(each)} epochs", each[-1].recorded, each[-1].now, 0.0))
    return rows


def _number(what: str, recorded: Any, now: Any) -> Row:
    if recorded == now or (_is_nan(recorded) and _is_nan(now)):
        difference = 0.0
    elif isinstance(recorded, (int, float)) and isinstance(now, (int, float)):
        difference = abs(recorded - now)
        difference = math.inf if math.isnan(difference) else difference
    else:
        difference = math.inf
    return Row(what, _shown(recorded), _shown(now), difference)


def _files(store: Store, recorded: str, scratch: Store, now: str) -> list[Row]:
    one, other = ((s.manifest(a) or {})["files"] for s, a in ((store, recorded), (scratch, now)))
    rows = []
    for name in {**one, **other}:
        if name in RECORDS:
            continue
        before, after = (files[name]["sha256"] if name in files else "missing" for files in (one, other))
        difference = 0.0 if before == after else math.inf
        if difference and name.endswith(".safetensors") and "missing" not in (before, after):
            difference = _of_tensors(store.read(recorded, name), scratch.read(now, name))
        rows.append(Row(name, before[:12], after[:12], difference))
    return rows


def _of_tensors(recorded: bytes, now: bytes) -> float:
    one, other = safetensors.torch.load(recorded), safetensors.torch.load(now)
    if {name: tensor.shape for name, tensor in one.items()} != {name: tensor.shape for name, tensor in other.items()}:
        return math.inf
    largest = [float((one[name].double() - other[name].double()).abs().max()) for name in one if one[name].numel()]
    difference = max(largest, default=math.inf)
    return difference if difference > 0 else math.inf  # NaN, or equal numbers in different bytes


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _shown(value: Any) -> str:
    return "missing" if value is None else f"{value:.7g}" if isinstance(value, float) else str(value)
