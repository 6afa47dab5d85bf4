"""Ranges of hyperparameters: declared in each space, overridden from a study's YAML or by `--set`.

A range is {low, high, log or step} of two whole numbers or two real ones, or {choices}; an override may also be a plain
value, which fixes the parameter. "/" in a name nests it. A choice that is a list is asked for as its JSON text, since
Optuna's storages keep no lists.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from optuna import Trial

from dehazing.strict import nearest

Range = Mapping[str, Any]
Ranges = Mapping[str, Range]
KEYS = ("low", "high", "log", "step", "choices")


def suggest(trial: Trial, name: str, ranges: Ranges) -> Any:
    """Ask the trial for the parameter `name` within its range."""
    domain = ranges[name]
    if "choices" in domain:
        return trial.suggest_categorical(name, list(domain["choices"]))
    if isinstance(domain["low"], int):
        return trial.suggest_int(
            name, domain["low"], domain["high"], step=domain.get("step", 1), log=domain.get("log", False)
        )
    return trial.suggest_float(
        name, domain["low"], domain["high"], step=domain.get("step"), log=domain.get("log", False)
    )


def overridden(
    ranges: Ranges,
    overrides: Mapping[str, Any],
    where: str,
    fixed: Ranges | None = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Range]:
    """The ranges with `overrides` {name: {low, high, log, step} or {choices}} over them; ValueError for a misfit.

    fixed: ranges of parameters that are searched where an override names them, if only by an empty mapping. settings:
    name → default of all that the stage has; what is in no range needs a whole one of its own.
    """
    result = dict(ranges)
    known = {**(fixed or {}), **ranges}
    for name, override in overrides.items():
        here = f"{where}: `{name}`"
        if name not in known and name not in (settings or {}):
            near = nearest(name, {**(settings or {}), **known})
            raise ValueError(f"{where}: the search space has no parameter `{name}`; the nearest is `{near}`.")
        if isinstance(override, (bool, int, float, str)):
            override = {"choices": (override,)}
        if not isinstance(override, Mapping):
            raise ValueError(
                f"{here} must be one value or a mapping of low, high, log, step or choices, but is {override!r}."
            )
        for key in override:
            if key not in KEYS:
                raise ValueError(f"{here} has no key `{key}`; the nearest valid key is `{nearest(str(key), KEYS)}`.")
        domain = known[name] if name in known else _own_range((settings or {})[name], override, here)
        result[name] = _with_texts(_merged(domain, override, here) if override else domain)
    return result


def _own_range(default: Any, override: Mapping[str, Any], where: str) -> Range:
    """What an override must complete: nothing but whether the setting is a whole number."""
    if "choices" not in override and not {"low", "high"} <= set(override):
        raise ValueError(f"{where} has no range that could be changed: give it `low` and `high`, or `choices`.")
    is_number = isinstance(default, (int, float)) and not isinstance(default, bool)
    if "choices" not in override and not is_number:
        raise ValueError(f"{where} is no number but {default!r}, so that it is searched by its `choices` alone.")
    return {"low": default, "high": default} if is_number else {}


def _with_texts(domain: Range) -> Range:
    if not any(isinstance(choice, (list, tuple)) for choice in domain.get("choices", ())):
        return domain
    return {"choices": tuple(json.dumps(c) if isinstance(c, (list, tuple)) else c for c in domain["choices"])}


def _merged(domain: Range, override: Mapping[str, Any], where: str) -> Range:
    if "choices" in override:
        choices = override["choices"]
        if len(override) > 1 or not isinstance(choices, (list, tuple)) or not choices:
            raise ValueError(f"{where}: `choices` must be a list of at least one value, alone, but is {override!r}.")
        return {"choices": tuple(choices)}
    if "choices" in domain and not {"low", "high"} <= set(override):
        raise ValueError(f"{where} is a choice of {', '.join(map(str, domain['choices']))}: override its `choices`.")
    merged = {**({} if "choices" in domain else domain), **override}
    whole = isinstance(domain.get("low"), int)
    for key in {"low", "high", "step"} & set(merged):
        merged[key] = _number(merged[key], whole, f"{where}: `{key}`")
    if not isinstance(merged.get("log", False), bool):
        raise ValueError(f"{where}: `log` must be true or false, but is {merged['log']!r}.")
    if not merged["low"] <= merged["high"]:
        raise ValueError(f"{where}: `low <= high` must hold, but got low={merged['low']}, high={merged['high']}.")
    if "step" in merged and (merged.get("log") or not merged["step"] > 0):
        raise ValueError(f"{where}: `step > 0` on a range that is not logarithmic must hold, but got {dict(merged)}.")
    if merged.get("log") and not merged["low"] > 0:
        raise ValueError(f"{where}: `low > 0` must hold on a logarithmic range, but got low={merged['low']}.")
    return merged


def _number(value: Any, whole: bool, where: str) -> float | int:
    if isinstance(value, str):
        try:
            value = float(value)  # YAML 1.1 reads 1e-3 as text
        except ValueError as error:
            raise ValueError(f"{where} must be a number, but is {value!r}.") from error
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{where} must be a number, but is {value!r}.")
    if not math.isfinite(value):
        raise ValueError(f"{where} must be finite, but is {value}.")
    if whole and value != int(value):
        raise ValueError(f"{where} must be a whole number, but is {value!r}.")
    return int(value) if whole else float(value)
