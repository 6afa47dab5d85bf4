"""`--set KEY=VALUE`: settings and ranges changed without editing a file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from dehazing.strict import nearest


def parse(assignments: Iterable[str], valid: Iterable[str]) -> dict[str, dict[str, Any]]:
    """{target: nested mapping} of `target.key.key=value`; targets are the studies, `dataset` and `scale`.

    The value is read as YAML (`50`, `1e-3`, `[linear, cosine]`). ValueError for an unknown target and for what
    has no `=`; the keys below a target are checked by whoever reads that target.
    """
    valid = list(valid)
    result: dict[str, dict[str, Any]] = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        keys = path.strip().split(".")
        if not equals or len(keys) < 2 or not all(keys):
            raise ValueError(
                f"--set takes KEY=VALUE such as degrader.space.lambda_cyc.high=50, but got {assignment!r}."
            )
        if keys[0] not in valid:
            raise ValueError(
                f"--set {assignment}: unknown key `{keys[0]}`; the nearest valid key is `{nearest(keys[0], valid)}`."
            )
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"--set {assignment}: the value {text!r} is not valid YAML.") from error
        place = result
        for key in keys[:-1]:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise ValueError(f"--set {assignment}: `{key}` was set to a value before.")
        place[keys[-1]] = value
    return result
