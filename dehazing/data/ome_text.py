"""OME-XML of our own: for metadata of other kinds, for several files as one, and for what was made of an image."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence

from dehazing.data.ome_metadata import Acquisition, Pinhole, ome_acquisition, ome_pinholes

TYPES = {"float32": "float", "float64": "double"}  # what OME calls them, where numpy's name is another


def written_ome(pinholes: Sequence[Pinhole | None], own: Acquisition) -> str:
    """OME-XML that says of each channel its pinhole (diameter, um | px | au; None: unknown), and pixels and optics.

    For metadata that are no OME-XML, so that all are read by one reader; `ome_pinholes` and `ome_acquisition` give
    back what is put in.
    """
    root = ElementTree.Element("OME", xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06")
    if own.numerical_aperture is not None:
        instrument = ElementTree.SubElement(root, "Instrument")
        ElementTree.SubElement(instrument, "Objective", LensNA=repr(own.numerical_aperture))
    pixels = ElementTree.SubElement(ElementTree.SubElement(root, "Image"), "Pixels")
    if own.pixel_size_um is not None:
        pixels.set("PhysicalSizeX", repr(own.pixel_size_um))
    for pinhole in pinholes:
        channel = ElementTree.SubElement(pixels, "Channel")
        if pinhole is not None:
            size, unit = pinhole
            channel.set("Name", "open" if math.isinf(size) else f"pinhole {size!r} {unit}")
        if own.emission_nm is not None:
            channel.set("EmissionWavelength", repr(own.emission_nm))
    return ElementTree.tostring(root, encoding="unicode")


def joined_ome(texts: Sequence[str | None]) -> str | None:
    """One OME-XML for files of one channel each, in their order; None where one does not say its pinhole."""
    pinholes = [ome_pinholes(text) for text in texts]
    if not all(found and len(found[0]) == 1 for found in pinholes):
        return None
    said = [ome_acquisition(text) for text in texts]
    agreed = {}
    for name in ("pixel_size_um", "numerical_aperture", "emission_nm"):
        values = {getattr(own, name) for own in said}
        agreed[name] = values.pop() if len(values) == 1 else None
    return written_ome([(found[0][0], found[1]) for found in pinholes if found], Acquisition(**agreed))


def restored_ome(ome: str, lengths: Mapping[str, int], dtype: str, spread: bool, how: str) -> str:
    """The OME-XML of an image for what was made of it: the same planes in another type, all else as it was.

    lengths: of the axes in the order in which the planes are stored. spread: after each channel one more. how: a
    sentence for the image's description.
    """
    for name, address in re.findall(r'xmlns:?(\w*)="([^"]+)"', ome):
        ElementTree.register_namespace(name, address)  # so that they are written as they were
    root = ElementTree.fromstring(ome)
    root.attrib.pop("UUID", None)  # of the file that it was read from
    space = root.tag.partition("}")[0] + "}"
    image = root.find("{*}Image")
    pixels = None if image is None else image.find("{*}Pixels")
    if image is None or pixels is None:
        raise ValueError("OME-XML must describe an image, but holds none.")
    stored = [axis for axis in reversed([*lengths]) if axis not in "YX"]
    order = "XY" + "".join(stored + [axis for axis in "CZT" if axis not in stored])
    pixels.attrib |= {f"Size{axis}": str(lengths.get(axis, 1)) for axis in "XYZCT"}
    pixels.attrib |= {"Type": TYPES.get(dtype, dtype), "DimensionOrder": order}
    for name in ("BigEndian", "SignificantBits", "Interleaved"):
        pixels.attrib.pop(name, None)
    for name in ("TiffData", "BinData", "MetadataOnly"):
        for tag in pixels.findall(f"{{*}}{name}"):
            pixels.remove(tag)
    channels = pixels.findall("{*}Channel")
    if spread:
        for tag in pixels.findall("{*}Plane"):  # they count channels
            pixels.remove(tag)
        for number, channel in enumerate(channels):
            added = ElementTree.Element(
                channel.tag, ID=f"{channel.get('ID', f'Channel:0:{number}')}:spread", SamplesPerPixel="1"
            )
            added.set("Name", f"{channel.get('Name', '')} spread".strip())
            pixels.insert([*pixels].index(channel) + 1, added)
    last = max((place for place, tag in enumerate(pixels) if tag.tag == f"{space}Channel"), default=-1)
    pixels.insert(last + 1, ElementTree.Element(f"{space}TiffData"))
    description = image.find("{*}Description")
    if description is None:
        before = [
            place for place, tag in enumerate(image) if tag.tag.endswith(("}AcquisitionDate", "}ExperimenterRef"))
        ]
        description = ElementTree.Element(f"{space}Description")
        image.insert(max(before, default=-1) + 1, description)
    description.text = f"{description.text or ''} {how}".strip()
    return '<?xml version="1.0" encoding="UTF-8"?>' + ElementTree.tostring(root, encoding="unicode")
