"""A user's own image: its planes, what its axes are, and the metadata that are kept when it is restored."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from dehazing.data.ome_metadata import UM_PER_UNIT, ome_acquisition
from dehazing.data.tiff import Tiff
from dehazing.data.vendor import READERS, read_file

AXES = "PTZCYX"  # positions, times, slices, channels: what a stack may have
# what ImageJ's metadata say of the layout, which is written anew, or of the intensities that were
OF_THE_LAYOUT = ("ImageJ", "images", "channels", "slices", "frames", "hyperstack", "min", "max", "Ranges", "axes")
Index = tuple[int, ...]


@dataclass(frozen=True)
class OwnImage:
    """One image of any number of planes; P never stands in `axes`: every position is an image of its own."""

    path: Path
    name: str  # of the file to be written, without its ending
    values: np.ndarray  # (…, Y, X), the file's own type
    axes: str  # a letter of AXES for each dimension
    form: str  # ome | imagej | plain | vendor (written as OME)
    ome: str | None  # of a vendor's file as much as we know
    pixel_size_um: float | None
    extra: dict[str, Any]  # metadata of ImageJ and the resolution, as tifffile writes them

    @property
    def num_channels(self) -> int:
        return self.values.shape[self.axes.index("C")] if "C" in self.axes else 1

    @property
    def num_planes(self) -> int:
        return math.prod(self.values.shape[:-2])

    def indices(self, channel: int | None = None) -> Iterator[Index]:
        """Where the planes are, in the file's order; those of a channel alone where one is named."""
        for index in np.ndindex(*self.values.shape[:-2]):
            if channel is None or self.channel_of(index) == channel:
                yield index

    def channel_of(self, index: Index) -> int:
        return index[self.axes.index("C")] if "C" in self.axes else 0


def read_own(path: Path, axes: str | None = None) -> list[OwnImage]:
    """The images of a file, one per position; axes: of the file, where its metadata do not say them or are wrong.

    ValueError, naming the file, for what `read_file` refuses, and where it is not clear what the axes are.
    """
    path = Path(path)
    image = read_file(path)
    values, letters = _settled(image, path, axes)
    form, extra, pixel_size_um = _metadata(path, image)
    stem = path.name.removesuffix(path.suffix).removesuffix(".ome")
    whole = OwnImage(path, stem, values, letters, form, image.ome, pixel_size_um, extra)
    if "P" not in letters:
        return [whole]
    at = letters.index("P")
    left = letters.replace("P", "")
    return [
        replace(whole, name=f"{stem}_{number}", values=part, axes=left)
        for number, part in enumerate(np.moveaxis(values, at, 0))
    ]


def _settled(image: Tiff, path: Path, axes: str | None) -> tuple[np.ndarray, str]:
    """The values with their axes, Y and X last, no axis of length 1 beside these."""
    values, letters = image.values, image.axes
    kept = [i for i, length in enumerate(values.shape) if length > 1 or letters[i] in "YX"]
    values, letters = values.reshape([values.shape[i] for i in kept]), "".join(letters[i] for i in kept)
    if axes is not None:
        wanted = axes.upper()
        if len(wanted) == image.values.ndim:  # those of length 1 are named, too
            wanted = "".join(wanted[i] for i in kept)
        if not set(wanted) <= set(AXES) or len(set(wanted)) < len(wanted) or not {"Y", "X"} <= set(wanted):
            raise ValueError(f"--axes must be some of {AXES}, Y and X among them, each once, but is {axes!r}.")
        if len(wanted) != values.ndim:
            shape = f"the {values.ndim} dimensions of {path.name}, of shape {values.shape}"
            raise ValueError(f"--axes must name {shape}, but is {axes!r}.")
        letters = wanted
    elif values.ndim > 2 and not (image.stated and set(letters) <= set(AXES)):
        example = {3: "ZYX", 4: "ZCYX"}.get(values.ndim, "TZCYX")
        raise ValueError(
            f"{path.name} must say what its axes are, but its shape is {values.shape} and all that its metadata say "
            f"of it is {letters}; --axes says it, such as --axes {example}."
        )
    others = [i for i, letter in enumerate(letters) if letter not in "YX"]
    order = [*others, letters.index("Y"), letters.index("X")]
    return values.transpose(order), "".join(letters[i] for i in order)


def _metadata(path: Path, image: Tiff) -> tuple[str, dict[str, Any], float | None]:
    """Form, what is to be written again, and the pixel size."""
    if path.suffix.lower() in READERS:
        return "vendor", {}, ome_acquisition(image.ome).pixel_size_um
    with tifffile.TiffFile(path, _multifile=False) as tif:
        page = tif.pages.first
        resolution = {"resolution": page.resolution, "resolutionunit": int(page.resolutionunit)}
        if image.ome is not None:
            return "ome", resolution, ome_acquisition(image.ome).pixel_size_um
        if tif.is_imagej:
            said = {key: value for key, value in (tif.imagej_metadata or {}).items() if key not in OF_THE_LAYOUT}
            return "imagej", {**resolution, "metadata": said}, _of_imagej(page.resolution[0], said.get("unit"))
        return "plain", resolution if page.tags.get("XResolution") else {}, None  # its dots per inch mean nothing


def _of_imagej(pixels_per_unit: float, unit: Any) -> float | None:
    um = {**UM_PER_UNIT, "micron": 1.0, "\\u00B5m": 1.0}.get(str(unit))
    return None if um is None or not 0 < pixels_per_unit < math.inf else um / pixels_per_unit
