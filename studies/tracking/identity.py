"""Which results folder this is: an id in a file, so that what others keep for it is told from what is another's.

A folder that is moved keeps its id.
"""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path

from dehazing.pipeline.writing import make_durable, writing

ID = "results.id"


def results_id(root: Path) -> str:
    """The id of a results folder, made where it has none. ValueError as `recorded_id`; Unwritable."""
    found = recorded_id(root)
    if found is None:
        with writing(root):
            root.mkdir(parents=True, exist_ok=True)
            aside = root / f"{ID}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp"
            aside.write_text(uuid.uuid4().hex + "\n")
            make_durable(aside)
            try:
                os.link(aside, root / ID)  # appears whole, and only once: two drivers may begin together
            except FileExistsError:
                pass  # the other's holds
            except OSError:  # a file system without links
                aside.replace(root / ID)
            aside.unlink(missing_ok=True)
        found = recorded_id(root)
    assert found is not None, root
    return found


def recorded_id(root: Path) -> str | None:
    """The id of a results folder, or None where it has none. ValueError where the file holds something else."""
    try:
        found = (root / ID).read_text(errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not re.fullmatch(r"[0-9a-f]{32}", found):
        raise ValueError(
            f"{root / ID} must hold 32 hexadecimal digits, but holds {found[:40]!r}: restore it, or remove it, "
            "and MLflow and shared stores take the folder for a new one."
        )
    return found
