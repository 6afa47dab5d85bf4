"""Strict reading of YAML and JSON mappings into frozen dataclasses: a misspelt key is never ignored."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

T = TypeVar("T")

NAMES = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    type(None): "null",
    Path: "a path",
}


def nearest(word: str, valid: Iterable[str]) -> str | None:
    """The entry of `valid` that looks most like `word`, or None where `valid` is empty."""
    candidates = list(valid)
    if not candidates:
        return None
    close = difflib.get_close_matches(str(word).lower(), candidates, n=1, cutoff=0.0)
    return close[0] if close else candidates[0]


def from_mapping(cls: type[T], mapping: Any, where: str) -> T:
    """An instance of the dataclass `cls`, its nested dataclasses included, from a mapping.

    `where` names the source (a file, a command-line option) in messages. Whole numbers and texts such as
    "1e-3" (YAML 1.1 reads it as text) and "inf" are accepted for floats. ValueError for an unknown key (with
    the nearest valid one), a wrong type, a missing required key, and whatever the dataclass itself refuses.
    """
    if not isinstance(mapping, Mapping):
        raise ValueError(f"{where} must be a mapping of keys to values, but is {_shown(mapping)}.")
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    for key in mapping:
        if key not in fields:
            raise ValueError(f"{where}: unknown key `{key}`; the nearest valid key is `{nearest(str(key), fields)}`.")
    hints = typing.get_type_hints(cls)
    values = {key: _value(hints[key], value, f"{where}: `{key}`") for key, value in mapping.items()}
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise ValueError(f"{where}: the key `{name}` is required, but missing.")
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def to_mapping(instance: Any) -> dict[str, Any]:
    """The JSON-able mapping that `from_mapping` reads back: tuples become lists, infinities texts."""
    return {field.name: _plain(getattr(instance, field.name)) for field in dataclasses.fields(instance)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_mapping(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(entry) for entry in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _one_of(arguments, value, where)
    if origin is Literal:
        if value not in arguments:
            near = nearest(str(value), [str(argument) for argument in arguments])
            valid = ", ".join(map(str, arguments))
            raise ValueError(f"{where} must be one of {valid}, but is {value!r} (nearest: {near}).")
        return value
    if dataclasses.is_dataclass(hint):
        if isinstance(value, hint):  # type: ignore[arg-type]
            return value
        return from_mapping(hint, value, where)  # type: ignore[arg-type]
    if hint in (tuple, list) or origin in (tuple, list):
        return _sequence(hint, origin or hint, arguments, value, where)
    if hint is dict or origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise ValueError(f"{where} must be a mapping, but is {_shown(value)}.")
        entry = arguments[1] if arguments else Any
        return {str(key): _value(entry, item, f"{where}, `{key}`") for key, item in value.items()}
    return _scalar(hint, value, where)


def _one_of(hints: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in hints:
        return None
    rest = [hint for hint in hints if hint is not type(None)]
    if len(rest) == 1:
        return _value(rest[0], value, where)
    exact = [hint for hint in rest if type(value) is hint]
    failures = []
    for hint in exact or rest:
        try:
            return _value(hint, value, where)
        except ValueError as error:
            failures.append(str(error))
    if len(exact) == 1:
        raise ValueError(failures[0])
    names = " or ".join(_named(hint) for hint in rest)
    raise ValueError(f"{where} must be {names}, but is {_shown(value)}.")


def _sequence(hint: Any, kind: type, arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if isinstance(value, str) or not isinstance(value, (list, tuple)):
        raise ValueError(f"{where} must be a list, but is {_shown(value)}.")
    if not arguments:
        return kind(value)
    if kind is list or arguments[-1] is Ellipsis:
        entries = [arguments[0]] * len(value)
    else:
        entries = list(arguments)
        if len(entries) != len(value):
            raise ValueError(f"{where} must have {len(entries)} entries, but has {len(value)}.")
    return kind(
        _value(entry, item, f"{where}, entry {index + 1}")
        for index, (entry, item) in enumerate(zip(entries, value, strict=True))
    )


def _scalar(hint: Any, value: Any, where: str) -> Any:
    wrong = f"{where} must be {_named(hint)}, but is {_shown(value)}."
    if hint is float:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError(wrong)
        try:
            number = float(value)
        except (ValueError, OverflowError) as error:
            raise ValueError(wrong) from error
        if math.isnan(number):
            raise ValueError(wrong)
        return number
    if hint is int:
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(wrong)
        return value
    if hint is Path and isinstance(value, (str, Path)):
        return Path(value)
    if not isinstance(value, hint):
        raise ValueError(wrong)
    return value


def _named(hint: Any) -> str:
    return NAMES.get(hint) or str(getattr(hint, "__name__", hint))


def _shown(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
