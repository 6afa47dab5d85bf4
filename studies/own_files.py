"""Studies of one's own: YAML files that are named on the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

RESERVED = ("all", "dataset", "scale")  # of the command line, so no names of studies


def own_studies(names: Iterable[str]) -> dict[str, Path]:
    """Study → its file, of the names that are files; ValueError for a name that --set could not address."""
    result: dict[str, Path] = {}
    for path in (Path(name) for name in names if name.endswith((".yaml", ".yml"))):
        if not re.fullmatch(r"[\w-]+", path.stem) or path.stem in RESERVED:
            raise ValueError(
                f"{path}: a study is named after its file, so that must be letters, digits, _ and -, and none of "
                f"{', '.join(RESERVED)}, but is `{path.stem}`."
            )
        if result.setdefault(path.stem, path).resolve() != path.resolve():
            raise ValueError(f"{result[path.stem]} and {path} are both named `{path.stem}`: rename one.")
    return result
