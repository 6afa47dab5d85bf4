"""Which files hold which field of view, and which pages of them which pinhole."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dehazing.data.ome_text import joined_ome
from dehazing.data.tiff import Tiff
from dehazing.data.vendor import read_file
from dehazing.strict import nearest

PLACEHOLDERS = {"fov": r"[^/\\]+?", "pinhole": r"[0-9]+(?:\.[0-9]+)?|inf|open", "split": r"[^/\\]+?"}
GENERIC_AXES = set("IQ")
ESCAPED = r"\[[*?\[{}]\]"


@dataclass(frozen=True)
class Found:
    """One file and what its name says."""

    path: Path
    fov: str | None = None
    pinhole: float | None = None  # inf = open
    split: str | None = None


@dataclass(frozen=True)
class Levels:
    """The levels of one field of view, in file order."""

    name: str
    files: tuple[Path, ...]
    frames: np.ndarray  # (L, Y, X) of the files' dtype
    pinholes: tuple[float, ...] | None  # from the file names
    ome: str | None
    split: str | None


def escaped(path: str) -> str:
    """A path in which `find_files` takes every letter as it stands."""
    return re.sub(r"[*?\[{}]", r"[\g<0>]", path)


def find_files(pattern: str) -> list[Found]:
    """The files of a path, glob, or pattern with {fov}, {pinhole} and {split}, in natural order; ValueError if none.

    A special letter alone in brackets stands for itself, as `escaped` writes it.
    """
    plain = re.sub(ESCAPED, lambda found: found[0][1], pattern)
    if Path(plain).is_file():
        return [Found(Path(plain))]
    parts = re.split(rf"({ESCAPED}|\{{[^}}]*\}})", pattern)
    by_name = any(part.startswith("{") for part in parts)
    expression, wildcard, seen = "", "", set()
    for part in parts:
        if re.fullmatch(ESCAPED, part):
            expression += re.escape(part[1])
            wildcard += part
            continue
        if not part.startswith("{"):
            expression += "".join({"*": r"[^/\\]*", "?": r"[^/\\]"}.get(letter, re.escape(letter)) for letter in part)
            wildcard += part.replace("[", "[[]") if by_name else part
            continue
        name = part[1:-1]
        if name not in PLACEHOLDERS:
            near = nearest(name, PLACEHOLDERS)
            raise ValueError(
                f"`path` may hold {{fov}}, {{pinhole}} and {{split}}, but holds {part} (nearest: {{{near}}})."
            )
        expression += f"(?P={name})" if name in seen else f"(?P<{name}>{PLACEHOLDERS[name]})"
        wildcard += "*"
        seen.add(name)
    found = []
    for name in sorted(glob.glob(wildcard), key=_natural):  # noqa: PTH207 (pathlib takes no absolute pattern)
        match = re.fullmatch(expression, name) if seen else None
        if seen and match is None:
            continue
        said = match.groupdict() if match else {}
        pinhole = said.get("pinhole")
        size = None if pinhole is None else float("inf") if pinhole == "open" else float(pinhole)
        found.append(Found(Path(name), said.get("fov"), size, said.get("split")))
    if not found:
        raise ValueError(f"`path` must name at least one file, but nothing matches {plain}.")
    return found


def read_levels(pattern: str, axes: str | None) -> tuple[list[Levels], list[str]]:
    """Every field of view that a `path` names, and notes; ValueError, naming the file, for what does not fit."""
    found = find_files(pattern)
    notes: list[str] = []
    tiffs = {entry.path: read_file(entry.path) for entry in found}
    planes = {path: _fields(tiff, path, axes, notes) for path, tiff in tiffs.items()}
    single = all(len(stacks) == 1 and len(stacks[0]) == 1 for stacks in planes.values())
    groups: dict[tuple[str | None, str], list[Found]] = {}
    for entry in found:
        by_file = not single or (entry.fov is not None and entry.pinhole is None)
        name = entry.fov or (_stem(entry.path) if by_file else "field")
        groups.setdefault((entry.split, name), []).append(entry)
    levels = []
    for (split, name), entries in groups.items():
        if single or all(entry.pinhole is not None for entry in entries):
            levels.append(_from_single_frames(name, split, entries, planes, tiffs))
            continue
        if len(entries) > 1:
            names = ", ".join(entry.path.name for entry in entries[:4])
            raise ValueError(f"A field of view needs a name of its own, but {name} is that of {names}.")
        path = entries[0].path
        for index, frames in enumerate(planes[path]):
            own = name if len(planes[path]) == 1 else f"{name}_{index}"
            levels.append(Levels(own, (path,), frames, None, tiffs[path].ome, split))
    if len({level.name for level in levels}) < len(levels):  # same names in different splits
        levels = [Levels(f"{e.split}_{e.name}", e.files, e.frames, e.pinholes, e.ome, e.split) for e in levels]
    return levels, notes


def _from_single_frames(
    name: str,
    split: str | None,
    entries: list[Found],
    planes: dict[Path, list[np.ndarray]],
    tiffs: dict[Path, Tiff],
) -> Levels:
    """One file per setting."""
    frames = []
    for entry in entries:
        stacks = planes[entry.path]
        if len(stacks) != 1 or len(stacks[0]) != 1:
            raise ValueError(
                f"{entry.path.name} must hold the single frame of its pinhole, but has {sum(map(len, stacks))}."
            )
        frames.append(stacks[0][0])
        if frames[0].shape != frames[-1].shape:
            raise ValueError(
                f"All levels of a field must have one shape, but {entries[0].path.name} is {frames[0].shape} and "
                f"{entry.path.name} is {frames[-1].shape}."
            )
    sizes = [entry.pinhole for entry in entries if entry.pinhole is not None]
    return Levels(
        name,
        tuple(entry.path for entry in entries),
        np.stack(frames),
        tuple(sizes) or None,
        None if sizes else joined_ome([tiffs[entry.path].ome for entry in entries]),
        split,
    )


def _fields(tiff: Tiff, path: Path, axes: str | None, notes: list[str]) -> list[np.ndarray]:
    """Fields of view in one file, each (L, Y, X), by the axes of the YAML, else those of the metadata."""
    values, own = tiff.values, tiff.axes
    if axes is None:
        letters = own
    else:
        letters = axes.upper()
        if len(letters) != values.ndim:
            keep = [i for i, length in enumerate(values.shape) if length > 1]
            values, own = np.squeeze(values), "".join(own[i] for i in keep)
        if len(letters) != values.ndim or len(set(letters)) != len(letters):
            raise ValueError(
                f"`axes` must name the {values.ndim} dimensions of {path.name}, of shape {values.shape}, but is {axes}."
            )
        if tiff.stated and own != letters and not GENERIC_AXES & set(own):
            notes.append(f"{path.name}: its metadata says axes {own}, the YAML {letters}; the YAML is followed.")
    dropped = [i for i, letter in enumerate(letters) if letter not in "YX" and values.shape[i] == 1]
    values = np.squeeze(values, tuple(dropped))
    letters = "".join(letter for i, letter in enumerate(letters) if i not in dropped)
    others = [letter for letter in letters if letter not in "YX"]
    fov_axis = next((letter for letter in others if letter in "PF"), None) if len(others) == 2 else None
    pinhole_axes = [letter for letter in others if letter != fov_axis]
    if not {"Y", "X"} <= set(letters) or len(pinhole_axes) > 1 or (axes is None and "S" in letters):
        raise ValueError(
            f"{path.name} must have the axes Y, X and one of the pinhole (and P for fields of view), but has "
            f"{letters} of shape {values.shape}; `axes` in the dataset's YAML can name them."
        )
    if pinhole_axes and pinhole_axes[0] in "ZT" and axes is None:
        notes.append(f"{path.name}: its axis {pinhole_axes[0]} is taken as that of the pinhole.")
    order = [letters.index(letter) for letter in (fov_axis, *pinhole_axes, "Y", "X") if letter is not None]
    values = values.transpose(order)
    if not pinhole_axes:
        values = np.expand_dims(values, -3)
    return list(values) if fov_axis else [values]


def _natural(name: str) -> list[tuple[int, float, str]]:
    """Sorts numbers in names by their value: p2 before p10."""
    pieces = re.split(r"(\d+(?:\.\d+)?)", name)
    return [(1, float(piece), "") if i % 2 else (0, 0.0, piece) for i, piece in enumerate(pieces)]


def _stem(path: Path) -> str:
    return re.sub(r"(\.ome)?\.[^.]*$", "", path.name)
