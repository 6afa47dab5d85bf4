"""Whether the weights of a file fit what is to be gone on with, and where they first do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import torch

NAMED = 3  # of the differences


def require_fit(wanted: Any, found: Any, what: str) -> None:
    """ValueError, with the first keys and shapes that differ, unless a tree of weights has the shape of another.

    Trees are as a `state_dict` nests them. What is empty in `wanted`, such as an optimiser's moments before its first
    step, may hold anything. what: the beginning of the sentence, as "The checkpoint must fit its settings".
    """
    first = list(islice(differences(wanted, found), NAMED + 1))
    if first:
        more = " and more" if len(first) > NAMED else ""
        raise ValueError(f"{what}, but does not: {'; '.join(first[:NAMED])}{more}.")


def differences(wanted: Any, found: Any, where: str = "") -> Iterator[str]:
    """What differs, a few words each, in the order of `wanted`; shapes of floating-point tensors, keys and lengths."""
    if isinstance(wanted, torch.Tensor) and wanted.is_floating_point():
        shape = tuple(found.shape) if isinstance(found, torch.Tensor) else None
        if shape != tuple(wanted.shape):
            yield f"{where} is {shape or 'no tensor'} instead of {tuple(wanted.shape)}"
    elif isinstance(wanted, Mapping) and wanted:
        entries = found if isinstance(found, Mapping) else {}
        for key, value in wanted.items():
            place = f"{where}.{key}" if where else str(key)
            if key in entries:
                yield from differences(value, entries[key], place)
            else:
                yield f"{place} is missing"
        unknown = (f"{where}.{key}" if where else str(key) for key in entries if key not in wanted)
        yield from (f"{place} is not known" for place in unknown)
    elif isinstance(wanted, (list, tuple)) and wanted:
        num = len(found) if isinstance(found, (list, tuple)) else 0
        if num != len(wanted):
            yield f"{where} has {num} entries instead of {len(wanted)}"
        else:
            for index, (one, other) in enumerate(zip(wanted, found, strict=True)):
                yield from differences(one, other, f"{where}[{index}]")
