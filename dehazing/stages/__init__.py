"""How each kind of stage is trained or evaluated: one module per kind, with `Config`, `Stage` and `needs`."""

from __future__ import annotations

import importlib
from types import ModuleType

from dehazing.strict import nearest

KINDS = ("unet", "nafnet", "hdn", "hvae", "restorer", "degrader", "iterative")
WITHOUT_STUDY = ("attribution",)  # evaluated in the confirmation alone: nothing of them is searched


def stage_module(kind: str) -> ModuleType:
    """The module of a kind of stage; ValueError for a kind that does not exist."""
    kinds = (*KINDS, *WITHOUT_STUDY)
    if kind not in kinds:
        raise ValueError(
            f"A stage's kind must be one of {', '.join(kinds)}, but is {kind!r} (nearest: {nearest(kind, kinds)})."
        )
    return importlib.import_module(f"dehazing.stages.{kind}")
