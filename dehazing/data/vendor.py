"""Microscopes' own files (CZI, LIF, ND2), read by the readers of the extra `vendor`; everything else is a TIFF.

What they say of pinholes, pixels and optics is put into OME-XML, so that all that reads metadata reads one kind.
"""

from __future__ import annotations

import importlib
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dehazing.data.ome_metadata import Acquisition, Pinhole
from dehazing.data.ome_text import written_ome
from dehazing.data.tiff import MAX_BYTES, Tiff, check_values, read_tiff


def read_file(path: Path) -> Tiff:
    """The image in a CZI, LIF, ND2 or TIFF; ValueError, naming the file, as `read_tiff`, and where a reader is missing.

    Scenes, positions and images of one file are the axis P, and must be alike.
    """
    path = Path(path)
    if path.suffix.lower() not in READERS:
        return read_tiff(path)
    library, read = READERS[path.suffix.lower()]
    if not path.is_file():
        raise ValueError(f"{path} does not exist.")
    try:
        reader = importlib.import_module(library)
    except ImportError as error:
        raise ValueError(
            f"{path.name} needs the reader `{library}`, which is not installed: pip install -c constraints.txt -e "
            "'.[vendor]' installs it."
        ) from error
    try:
        values, axes, ome = read(reader, path)
    except _Refused as refusal:
        raise ValueError(str(refusal)) from None
    except Exception as error:  # a damaged file makes the readers raise anything at all
        raise ValueError(
            f"{path.name} is damaged, or of a kind that {library} cannot read: {type(error).__name__}."
        ) from error
    values, axes = _without_samples(values, axes, path)
    if values.dtype.kind not in "iuf" or not {"Y", "X"} <= set(axes):
        raise ValueError(f"{path.name} must hold grey images, but its axes are {axes} of type {values.dtype}.")
    check_values(values, axes, path)
    return Tiff(values, axes, stated=True, ome=ome)


class _Refused(ValueError):
    """A refusal of ours, told apart from what the readers raise."""


def _czi(czifile: Any, path: Path) -> tuple[np.ndarray, str, str]:
    with czifile.CziFile(str(path)) as file:
        entries = [one for one in file.filtered_subblock_directory if one.shape == one.stored_shape]  # no pyramid
        scenes: dict[int, list[Any]] = {}
        for entry in entries:
            starts = dict(zip(entry.axes, entry.start, strict=True))
            scenes.setdefault(int(starts.get("S", 0)), []).append(entry)
        found = [_scene(scenes[index], path) for index in sorted(scenes)]
        ome = _czi_metadata(file.metadata())
    values, axes = _alike(found, path, "scenes")
    kept = [i for i, axis in enumerate(axes) if axis in "PYX0" or values.shape[i] > 1]
    return values.squeeze(tuple(set(range(values.ndim)) - set(kept))), "".join(axes[i] for i in kept), ome


def _scene(entries: Sequence[Any], path: Path) -> tuple[np.ndarray, str]:
    """The image that the blocks of one scene make up; its axes without S and the numbering M of a mosaic's tiles."""
    axes = [axis for axis in entries[0].axes if axis not in "SM"]
    places = [dict(zip(one.axes, zip(one.start, one.shape, strict=True), strict=True)) for one in entries]
    first = {axis: min(place[axis][0] for place in places) for axis in axes}
    shape = [max(sum(place[axis]) for place in places) - first[axis] for axis in axes]
    _check_size(shape, entries[0].dtype, path)
    values = np.zeros(shape, np.dtype(entries[0].dtype).base)
    for entry, place in zip(entries, places, strict=True):
        block = entry.data_segment().data()
        dropped = tuple(i for i, axis in enumerate(entry.axes) if axis in "SM")
        at = tuple(slice(place[a][0] - first[a], sum(place[a]) - first[a]) for a in axes)
        values[at] = block.squeeze(dropped)
    return values, "".join(axes)


def _czi_metadata(text: str) -> str:
    root = ElementTree.fromstring(text)
    image = "Metadata/Information/Image/Dimensions/Channels/Channel"
    channels = root.findall(image) or root.findall(f".//{image.partition('/')[2]}")
    sizes = [_number(one.findtext("PinholeSizeAiry")) for one in channels]
    emissions = (_number(one.findtext("EmissionWavelength")) for one in channels)
    pixel_m = _number(root.findtext(".//Scaling/Items/Distance[@Id='X']/Value"))
    return written_ome(
        [None if size is None else (size, "au") for size in sizes],
        Acquisition(
            pixel_size_um=None if pixel_m is None else pixel_m * 1e6,
            numerical_aperture=_number(root.findtext(".//Information/Instrument/Objectives/Objective/LensNA")),
            emission_nm=next((found for found in emissions if found is not None), None),
        ),
    )


def _lif(liffile: Any, path: Path) -> tuple[np.ndarray, str, str]:
    with liffile.LifFile(path) as file:
        if not len(file.images):
            raise _Refused(f"{path.name} holds no image.")
        for image in file.images:
            _check_size(image.shape, image.dtype, path)
        found = [(image.asarray(), "".join(image.dims)) for image in file.images]
        first = file.images[0]
        num_channels = int(first.sizes.get("C", 1))
        places = [float(place) for place in first.coords.get("X", ())[:2]]
        setting = first.xml_element.find(".//ATLConfocalSettingDefinition")
        attributes = {} if setting is None else setting.attrib
    values, axes = _alike(found, path, "images")
    airy, metres = (_number(attributes.get(name)) for name in ("PinholeAiry", "Pinhole"))
    pinhole: Pinhole | None = (airy, "au") if airy else (metres * 1e6, "um") if metres else None
    own = Acquisition(
        pixel_size_um=_number(abs(places[1] - places[0]) * 1e6) if len(places) == 2 else None,
        numerical_aperture=_number(attributes.get("NumericalAperture")),
        emission_nm=_number(attributes.get("EmissionWavelengthForPinholeAiryCalculation")),
    )
    return values, axes, written_ome([pinhole] * num_channels, own)


def _nd2(nd2: Any, path: Path) -> tuple[np.ndarray, str, str]:
    with nd2.ND2File(path) as file:
        axes = "".join(file.sizes)
        _check_size(tuple(file.sizes.values()), file.dtype, path)
        return file.asarray(), axes, nd2_metadata(file.metadata)


def nd2_metadata(metadata: Any) -> str:
    """OME-XML of what the `nd2.structures.Metadata` of a file say of its channels."""
    channels = getattr(metadata, "channels", None) or []
    if not channels:
        return written_ome([], Acquisition())
    sizes = [_number(channel.microscope.pinholeDiameterUm) for channel in channels]
    first = channels[0]
    return written_ome(
        [None if size is None else (size, "um") for size in sizes],
        Acquisition(
            pixel_size_um=_number(first.volume.axesCalibration[0]) if first.volume.axesCalibrated[0] else None,
            numerical_aperture=_number(first.microscope.objectiveNumericalAperture),
            emission_nm=_number(first.channel.emissionLambdaNm),
        ),
    )


def _alike(found: Sequence[tuple[np.ndarray, str]], path: Path, what: str) -> tuple[np.ndarray, str]:
    """Images of one shape as one array, along P where they are several."""
    kinds = {(values.shape, axes) for values, axes in found}
    if len(kinds) > 1:
        shown = ", ".join(f"{axes} {shape}" for shape, axes in sorted(kinds)[:4])
        raise _Refused(f"{path.name} must hold {what} of one shape, but holds {len(found)}: {shown}.")
    ((_, axes),) = kinds
    if len(found) == 1:
        return found[0]
    if "P" in axes:
        raise _Refused(f"{path.name} must hold one list of positions, but holds {len(found)} {what} with some each.")
    return np.stack([values for values, _ in found]), f"P{axes}"


def _without_samples(values: np.ndarray, axes: str, path: Path) -> tuple[np.ndarray, str]:
    """Without the axis of the samples of a pixel, which czifile calls 0; ValueError for colours."""
    for axis in "0S":
        if axis in axes:
            at = axes.index(axis)
            if values.shape[at] > 1:
                raise ValueError(f"{path.name} must be grey, but its pixels have {values.shape[at]} samples.")
            values, axes = values.squeeze(at), axes.replace(axis, "")
    return values, axes


def _check_size(shape: Sequence[int], dtype: Any, path: Path) -> None:
    claimed = math.prod(int(length) for length in shape) * np.dtype(dtype).base.itemsize
    if claimed > MAX_BYTES:
        raise _Refused(
            f"{path.name} claims {claimed / 2**30:.1f} GiB of pixels, more than the maximum of "
            f"{MAX_BYTES / 2**30:.0f} GiB."
        )


def _number(said: Any) -> float | None:
    """A positive finite number; None for whatever else metadata say."""
    try:
        value = float(said)
    except (TypeError, ValueError):
        return None
    return value if 0 < value < math.inf else None


READERS: dict[str, tuple[str, Callable[[Any, Path], tuple[np.ndarray, str, str]]]] = {
    ".czi": ("czifile", _czi),
    ".lif": ("liffile", _lif),
    ".nd2": ("nd2", _nd2),
}
