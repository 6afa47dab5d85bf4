"""What makes two executions the same: a hash of everything that can change their result.

Bookkeeping is left out of the code version: how things are stored, leased and resumed
(`dehazing.pipeline`), which kinds there are (`dehazing.stages` itself) and how settings are read
(`dehazing.strict`) change no number, as the settings themselves are part of the fingerprint.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

BOOKKEEPING = ("pipeline", "strict")  # of the package; with everything below


def fingerprint(**parts: Any) -> str:
    """16 hex digits that name `parts`, the same on every machine and in every process.

    Mappings are compared without order, tuples equal lists, floats count by their shortest exact text.
    ValueError for anything that is not text, number, truth value, None, or a sequence or mapping of these.
    """
    text = json.dumps(_plain(parts, "fingerprint"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def code_version(module: str) -> str:
    """16 hex digits that name the code of `module` and of the modules of its own package that it imports.

    Imports are followed transitively, from the source alone: nothing is imported. Comments, docstrings and
    formatting do not count. The version is that of the first call in a process, which is what it runs.
    """
    digest = hashlib.sha256()
    for name in sorted(modules_of(module)):
        digest.update(f"{name}\n{_text(_tree(name))}\n".encode())
    return digest.hexdigest()[:16]


def modules_of(module: str) -> set[str]:
    """The module itself and those of its own package that it imports, transitively, without the bookkeeping."""
    reached, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += [found for found in _imports(name) if not _is_bookkeeping(found)]
    return reached


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"{where}: keys must be text, but one is {key!r}.")
        return {key: _plain(entry, f"{where}.{key}") for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(entry, where) for entry in value]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise ValueError(f"{where} must be text, a number, true, false or null, but is {value!r}.")


def _is_bookkeeping(module: str) -> bool:
    parts = module.split(".")[1:]
    return parts == ["stages"] or parts[:1] in [[name] for name in BOOKKEEPING]


def _imports(module: str) -> Iterator[str]:
    package = module.split(".")[0]
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            candidates = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(module, node.level, node.module)
            candidates = [(source, alias.name) for alias in node.names]
        else:
            continue
        for source, name in candidates:
            if source.split(".")[0] == package:
                yield source
                if name and _spec(f"{source}.{name}") is not None:
                    yield f"{source}.{name}"


def _absolute(module: str, level: int, source: str | None) -> str:
    if level == 0:
        return source or ""
    spec = _spec(module)
    assert spec is not None, f"{module} has no source"
    drop = level - 1 if spec.submodule_search_locations is not None else level
    above = module.split(".")[: len(module.split(".")) - drop]
    return ".".join([*above, source] if source else above)


def _spec(module: str) -> ModuleSpec | None:
    """Where a module's source is, found as the import system does but without running its parents."""
    path, spec = None, None
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        name = ".".join(parts[:depth])
        spec = PathFinder.find_spec(name, path)
        if spec is None:
            return None
        loaded = sys.modules.get(name)
        path = getattr(loaded, "__path__", None) or spec.submodule_search_locations
        if path is None and depth < len(parts):
            return None
    return spec


def _tree(module: str) -> ast.Module:
    spec = _spec(module)
    if spec is None:
        raise ValueError(f"The module {module} must have a source file to be fingerprinted, but none was found.")
    if spec.origin is None:
        return ast.Module(body=[], type_ignores=[])  # a folder without __init__.py
    return ast.parse(Path(spec.origin).read_bytes())


def _text(node: Any) -> str:
    """Like `ast.dump`, which differs between versions of Python, without what does nothing."""
    if isinstance(node, ast.AST):
        entries = [(name, getattr(node, name, None)) for name in node._fields if name != "kind"]
        return f"{type(node).__name__}({', '.join(f'{n}={_text(v)}' for n, v in entries if v is not None and v != [])})"
    if isinstance(node, list):
        return f"[{', '.join(_text(entry) for entry in node if not _does_nothing(entry))}]"
    return repr(node)


def _does_nothing(node: Any) -> bool:
    """Docstrings, other bare constants, and `pass`."""
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
