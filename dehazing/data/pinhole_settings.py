"""The pinhole of every level: from the YAML, the file names or the OME metadata, in one unit, sorted."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

import numpy as np

from dehazing.data.pinhole_files import Levels
from dehazing.optics import airy_units

UM_PER_UNIT = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "m": 1e6, "cm": 1e4, "Å": 1e-4}


@dataclass(frozen=True)
class Settings:
    """The pinholes of a series and which levels of the files they are."""

    pinholes: tuple[float, ...]  # rising, the clean one first; inf = open
    unit: str  # au | um | px
    order: tuple[int, ...]  # level → index in file order


def ome_pinholes(ome: str | None) -> tuple[tuple[float, ...], str] | None:
    """Pinholes of the channels of OME-XML and their unit (um, px or au), or None where not every channel has one.

    `PinholeSize` is a diameter in `PinholeSizeUnit`, µm by default, and means nothing where it is not positive; names
    such as "pinhole 2 au" say it, too, and a channel whose name ends in "open" is open.
    """
    try:
        image = None if ome is None else ElementTree.fromstring(ome).find("{*}Image")
    except ElementTree.ParseError:
        return None  # damaged metadata say nothing; the YAML has to
    channels = [] if image is None else [tag for tag in image.iter() if tag.tag.endswith("}Channel")]
    opened = [channel.get("Name", "").endswith("open") for channel in channels]
    for reading in (_by_size, _by_name):
        said = [None if is_open else reading(channel) for channel, is_open in zip(channels, opened, strict=True)]
        units = {found[1] for found in said if found}
        if len(units) == 1 and all(found or is_open for found, is_open in zip(said, opened, strict=True)):
            return tuple(found[0] if found else math.inf for found in said), units.pop()
    return None


def _by_size(channel: ElementTree.Element) -> tuple[float, str] | None:
    unit = channel.get("PinholeSizeUnit", "µm")
    try:
        size = float(channel.get("PinholeSize", "-1"))
    except ValueError:
        return None
    if not 0 < size < math.inf or (unit != "pixel" and unit not in UM_PER_UNIT):
        return None
    return (size, "px") if unit == "pixel" else (size * UM_PER_UNIT[unit], "um")


def _by_name(channel: ElementTree.Element) -> tuple[float, str] | None:
    match = re.fullmatch(r"pinhole ([0-9.]+) (au|um|px)", channel.get("Name", ""))
    return (float(match[1]), match[2]) if match else None


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
    comparable = in_metadata is not None and in_metadata[1] == unit and len(in_metadata[0]) == count
    if in_metadata and comparable and not np.allclose(values, in_metadata[0], rtol=0.01):
        notes.append(
            f"{name}: its metadata say pinholes {_shown(in_metadata[0])} {unit}, the YAML {_shown(values)}; "
            "the YAML is followed."
        )
    if min(values) <= 0 or len(set(values)) < len(values):
        raise ValueError(f"Pinholes must be positive and differ, but are {_shown(values)}.")
    order = sorted(range(count), key=lambda index: values[index])
    if order != list(range(count)):
        notes.append(f"The levels are sorted by pinhole, from {_shown(values)} to {_shown(sorted(values))}.")
    if clean is not None and clean not in values:
        raise ValueError(f"`clean` must be one of the pinholes {_shown(sorted(values))}, but is {clean:g}.")
    if clean is not None:
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


def _shown(values) -> str:
    return "none" if values is None else "[" + ", ".join("open" if v == math.inf else f"{v:g}" for v in values) + "]"
