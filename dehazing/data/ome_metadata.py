"""What OME-XML says about a series: its pinholes, its pixels and its optics."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

Pinhole = tuple[float, str]  # diameter (inf = open) and its unit: um | px | au
UM_PER_UNIT = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "m": 1e6, "cm": 1e4, "Å": 1e-4}


@dataclass(frozen=True)
class Acquisition:
    """Pixels and optics, None where they are not stated."""

    pixel_size_um: float | None = None
    numerical_aperture: float | None = None
    emission_nm: float | None = None  # of the first channel that states it


def ome_acquisition(ome: str | None) -> Acquisition:
    """`PhysicalSizeX`, `EmissionWavelength` and `LensNA` of OME-XML, in µm and nm."""
    root = _parsed(ome)
    if root is None:
        return Acquisition()
    image = root.find("{*}Image")
    pixels = None if image is None else image.find("{*}Pixels")
    channels = [] if image is None else [tag for tag in image.iter() if tag.tag.endswith("}Channel")]
    objectives = [tag for tag in root.iter() if tag.tag.endswith("}Objective")]
    emissions = [_length_um(channel, "EmissionWavelength", "nm") for channel in channels]
    emission_um = next((found for found in emissions if found is not None), None)
    return Acquisition(
        pixel_size_um=None if pixels is None else _length_um(pixels, "PhysicalSizeX", "µm"),
        numerical_aperture=next((na for tag in objectives if (na := _positive(tag, "LensNA")) is not None), None),
        emission_nm=None if emission_um is None else emission_um * 1e3,
    )


def _length_um(tag: ElementTree.Element, name: str, unit: str) -> float | None:
    value, unit = _positive(tag, name), tag.get(f"{name}Unit", unit)
    return None if value is None or unit not in UM_PER_UNIT else value * UM_PER_UNIT[unit]


def _positive(tag: ElementTree.Element, name: str) -> float | None:
    try:
        value = float(tag.get(name, "nan"))
    except ValueError:
        return None  # what is no number says nothing; the YAML has to
    return value if 0 < value < math.inf else None


def _parsed(ome: str | None) -> ElementTree.Element | None:
    try:
        return None if ome is None else ElementTree.fromstring(ome)
    except ElementTree.ParseError:
        return None  # damaged metadata say nothing; the YAML has to


def ome_pinholes(ome: str | None) -> tuple[tuple[float, ...], str] | None:
    """Pinholes of the channels of OME-XML and their unit (um, px or au), or None where not every channel has one.

    `PinholeSize` is a diameter in `PinholeSizeUnit`, µm by default, and means nothing where it is not positive; names
    such as "pinhole 2 au" say it, too, and a channel whose name ends in "open" is open.
    """
    root = _parsed(ome)
    image = None if root is None else root.find("{*}Image")
    channels = [] if image is None else [tag for tag in image.iter() if tag.tag.endswith("}Channel")]
    opened = [channel.get("Name", "").endswith("open") for channel in channels]
    for reading in (_by_size, _by_name):
        said = [None if is_open else reading(channel) for channel, is_open in zip(channels, opened, strict=True)]
        units = {found[1] for found in said if found}
        if len(units) == 1 and all(found or is_open for found, is_open in zip(said, opened, strict=True)):
            return tuple(found[0] if found else math.inf for found in said), units.pop()
    return None


def _by_size(channel: ElementTree.Element) -> tuple[float, str] | None:
    size, unit = _positive(channel, "PinholeSize"), channel.get("PinholeSizeUnit", "µm")
    if size is None or (unit != "pixel" and unit not in UM_PER_UNIT):
        return None
    return (size, "px") if unit == "pixel" else (size * UM_PER_UNIT[unit], "um")


def _by_name(channel: ElementTree.Element) -> tuple[float, str] | None:
    match = re.fullmatch(r"pinhole ([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?) (au|um|px)", channel.get("Name", ""))
    return (float(match[1]), match[2]) if match else None
