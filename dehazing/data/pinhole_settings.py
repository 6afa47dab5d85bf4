"""The pinhole of every level: from the YAML, the file names or the OME metadata, in one unit, sorted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from dehazing.data.ome_metadata import Acquisition, ome_acquisition, ome_pinholes
from dehazing.data.pinhole_files import Levels
from dehazing.optics import airy_units

AGREE = 0.01  # relative: closer numbers are the same setting, rounded


@dataclass(frozen=True)
class Settings:
    """The pinholes of a series and which levels of the files they are."""

    pinholes: tuple[float, ...]  # rising, the clean one first; inf = open
    unit: str  # au | um | px
    order: tuple[int, ...]  # level → index in file order


def acquisition(levels: list[Levels], stated: Acquisition) -> tuple[Acquisition, list[str]]:
    """Pixel size, aperture and wavelength: the YAML's where `stated`, else what the metadata of all fields agree on.

    The notes say where the metadata disagree, with the YAML or among themselves.
    """
    found = [ome_acquisition(level.ome) for level in levels]
    settled: dict[str, float | None] = {}
    notes = []
    for name in ("pixel_size_um", "numerical_aperture", "emission_nm"):
        said = {getattr(entry, name): level.files[0].name for entry, level in zip(found, levels, strict=True)}
        value = settled[name] = getattr(stated, name)
        numbers = sorted(number for number in said if number is not None)
        if not numbers:
            continue
        if value is None and math.isclose(numbers[0], numbers[-1], rel_tol=AGREE):
            settled[name] = numbers[0]
        elif value is None:
            shown = " and ".join(f"{number:g} ({said[number]})" for number in (numbers[0], numbers[-1]))
            notes.append(f"The metadata disagree on `{name}`, {shown}: none is taken.")
        else:
            other = next((number for number in numbers if not math.isclose(number, value, rel_tol=AGREE)), None)
            if other is not None:
                notes.append(
                    f"{said[other]}: its metadata say `{name}` {other:g}, the YAML {value:g}; the YAML is followed."
                )
    return Acquisition(**settled), notes


def settle(
    levels: list[Levels],
    pinholes: tuple[float, ...] | None,
    unit: str | None,
    clean: float | None,
    numerical_aperture: float | None,
    emission_nm: float | None,
    magnification: float,
) -> tuple[Settings, list[str]]:
    """The settings that all fields share, and notes; ValueError where they are missing or do not fit the files."""
    notes: list[str] = []
    counts = {len(level.frames): level.files[0].name for level in levels}
    if len(counts) > 1:
        said = ", ".join(f"{name} has {count}" for count, name in sorted(counts.items()))
        raise ValueError(f"All fields of view must have the same number of levels, but {said}.")
    (count,) = counts
    name = levels[0].files[0].name
    in_metadata = _in_metadata(levels, unit, numerical_aperture, emission_nm, magnification)
    in_names = levels[0].pinholes
    other = next((level for level in levels if level.pinholes != in_names), None)
    if other is not None:
        raise ValueError(
            f"All fields of view must have the same pinholes, but {levels[0].name} has {_shown(in_names)} and "
            f"{other.name} has {_shown(other.pinholes)}."
        )
    if count < 2:
        raise ValueError(f"A series needs at least two levels, but {name} has {count}.")
    values = pinholes or in_names
    if values is None:
        if in_metadata is None:
            raise ValueError(f"`pinholes` must be given in the dataset's YAML: the metadata of {name} do not say them.")
        if unit is not None and in_metadata[1] != unit:
            raise ValueError(
                f"`pinhole_unit` must be {in_metadata[1]}, as in the metadata of {name}, but is {unit} (au from um "
                "needs `numerical_aperture` and `emission_nm`)."
            )
        values, unit = in_metadata
    elif unit is None and in_metadata is not None:
        unit = in_metadata[1]
        notes.append(f"`pinhole_unit` is not given: the pinholes are taken as {unit}, the unit of the metadata.")
    elif unit is None:
        unit = "au"
        notes.append("`pinhole_unit` is not given: the pinholes are taken as Airy units.")
    assert unit is not None
    if len(values) != count:
        raise ValueError(
            f"`pinholes` must have one entry per level, but has {len(values)} and {name} has {count} levels."
        )
    if pinholes and in_names and sorted(pinholes) != sorted(in_names):
        raise ValueError(f"`pinholes` must be those of the file names, {_shown(in_names)}, but is {_shown(pinholes)}.")
    if pinholes and in_names:
        values = in_names
    if in_metadata and (in_metadata[1] != unit or not _agree(values, in_metadata[0])):
        who = "YAML" if pinholes else "file names"
        notes.append(
            f"{name}: its metadata say pinholes {_shown(in_metadata[0])} {in_metadata[1]}, the {who} {_shown(values)} "
            f"{unit}; the {who} {'is' if pinholes else 'are'} followed."
        )
    if min(values) <= 0 or len(set(values)) < len(values):
        raise ValueError(f"Pinholes must be positive and differ, but are {_shown(values)}.")
    order = sorted(range(count), key=lambda index: values[index])
    if order != list(range(count)):
        notes.append(f"The levels are sorted by pinhole, from {_shown(values)} to {_shown(sorted(values))}.")
    if clean is not None:
        nearest = min(values, key=partial(_apart, clean))
        if _apart(clean, nearest) > AGREE * nearest:
            raise ValueError(f"`clean` must be one of the pinholes {_shown(sorted(values))}, but is {clean:g}.")
        clean = nearest
        left_out = [values[index] for index in order if values[index] < clean]
        if left_out:
            notes.append(f"Left out, smaller than the clean pinhole {clean:g} {unit}: {_shown(left_out)}.")
        order = [index for index in order if values[index] >= clean]
    if len(order) < 2:
        raise ValueError(f"A series needs at least two levels, but from `clean` = {clean:g} on there is only one.")
    return Settings(tuple(float(values[index]) for index in order), unit, tuple(order)), notes


def _in_metadata(
    levels: list[Levels],
    unit: str | None,
    numerical_aperture: float | None,
    emission_nm: float | None,
    magnification: float,
) -> tuple[tuple[float, ...], str] | None:
    """The pinholes that the OME metadata of every field agree on, in Airy units where those are asked for."""
    said = {ome_pinholes(level.ome) for level in levels}
    if len(said) > 1:
        shown = " and ".join(_shown(entry[0]) if entry else "none" for entry in list(said)[:2])
        raise ValueError(f"The metadata of all fields of view must name the same pinholes, but they say {shown}.")
    (found,) = said
    if found is None or found[1] != "um" or unit != "au":
        return found
    if numerical_aperture is None or emission_nm is None:
        return found
    values = tuple(airy_units(size / magnification, numerical_aperture, emission_nm) for size in found[0])
    return values, "au"


def _apart(one: float, other: float) -> float:
    return 0.0 if one == other else abs(one - other)  # inf - inf is no number


def _agree(values: Sequence[float], others: Sequence[float]) -> bool:
    return len(values) == len(others) and bool(np.allclose(values, others, rtol=AGREE))


def _shown(values: Sequence[float] | None) -> str:
    return "none" if values is None else "[" + ", ".join("open" if v == math.inf else f"{v:g}" for v in values) + "]"
