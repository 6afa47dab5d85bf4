"""Which MLflow has the confirmation of an experiment: `tracked.json` of its folder names them."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from dehazing.pipeline.writing import writing
from studies.tracking.ledger import place


def is_tracked(folder: Path) -> bool:
    """Whether the MLflow that is meant now has the confirmation of the experiment in `folder`."""
    is_there = bool(place()) or (folder.parent / "mlflow.db").exists()  # the results folder's own may have been removed
    return is_there and place() in _places(folder)


def note_tracked(folder: Path) -> None:
    """Note that it has; Unwritable."""
    path = folder / "tracked.json"
    with writing(folder):
        path.write_text(json.dumps({"tracked": sorted({place(), *_places(folder)})}))


def _places(folder: Path) -> list[str]:
    """As the ledger names them; none where the file does not, cut off or of before."""
    found = None
    with suppress(FileNotFoundError, ValueError):
        found = json.loads((folder / "tracked.json").read_text())["tracked"]
    return found if isinstance(found, list) else []
