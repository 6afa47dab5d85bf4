"""Writing what was restored as the image was: its axes, its metadata, its numbers where it is asked for."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from dehazing.data.ome_text import restored_ome
from dehazing.data.own_image import Index, OwnImage

IMAGEJ_TYPES = ("uint8", "uint16", "float32")
IMAGEJ_BYTES = 2**32 - 2**24  # an ImageJ hyperstack is a classic TIFF


def path_of(image: OwnImage, folder: Path) -> Path:
    """Where what is restored of an image is written."""
    return Path(folder) / f"{image.name}{'.ome.tif' if image.form in ('ome', 'vendor') else '.tif'}"


class Writer:
    """Writes the planes of a restored image in any order into a file of the form that it had.

    Float32, or the image's own type: then numbers are rounded, and cut off where the type ends. spread: a channel more
    after each of the image's own. The file appears under its name when it is closed, whole. how: a sentence that is
    kept in the file. ValueError for a type that the form cannot hold.
    """

    def __init__(self, image: OwnImage, folder: Path, own_type: bool, spread: bool, how: str) -> None:
        self.image = image
        dtype = image.values.dtype.newbyteorder("=") if own_type else np.dtype(np.float32)
        self.axes, shape = image.axes, list(image.values.shape)
        if spread and "C" not in self.axes:
            self.axes, shape = f"{self.axes[:-2]}CYX", [*shape[:-2], 1, *shape[-2:]]
        self.num_outputs = 2 if spread else 1
        if "C" in self.axes:
            shape[self.axes.index("C")] *= self.num_outputs
        num_bytes = math.prod(shape) * dtype.itemsize
        form = image.form
        if form == "imagej" and not (
            dtype.name in IMAGEJ_TYPES and num_bytes < IMAGEJ_BYTES and _is_in_order(self.axes, "TZCYX")
        ):
            form = "plain"
        if form == "ome" and _num_channels(image.ome) != image.num_channels:  # the axes were said to be others
            form = "vendor"
        self.path = path_of(image, folder)
        self._aside = self.path.with_name(f"{self.path.name}.part")
        self._planes: Any = tifffile.memmap(
            self._aside,
            shape=self._stored(shape, form),
            dtype=dtype,
            photometric="minisblack",
            bigtiff=num_bytes > IMAGEJ_BYTES,
            **self._described(form, spread, shape, dtype, how),
        )
        self._values = self._planes.reshape(shape)
        self.num_cut_off = 0  # pixels beyond the ends of the type

    def write(self, index: Index, *planes: np.ndarray) -> None:
        """The restored plane (Y, X) of a place in the image, and the spread's where it is kept."""
        for number, plane in enumerate(planes):
            place = list(index)
            if self.num_outputs > 1:
                at = self.axes.index("C")
                channel = self.image.channel_of(index) * self.num_outputs + number
                place[at : at + ("C" in self.image.axes)] = [channel]
            self._values[tuple(place)] = self._converted(plane)

    def close(self) -> Path:
        """The file, under its name."""
        self._planes.flush()
        del self._values, self._planes
        self._aside.replace(self.path)
        return self.path

    def drop(self) -> None:
        """Leave nothing."""
        self._aside.unlink(missing_ok=True)

    def _converted(self, plane: np.ndarray) -> np.ndarray:
        dtype = self._values.dtype
        if dtype.kind == "f":
            return plane.astype(dtype)
        ends = np.iinfo(dtype)
        rounded = np.rint(plane.astype(np.float64))
        self.num_cut_off += int(((rounded < ends.min) | (rounded > ends.max)).sum())
        return rounded.clip(ends.min, ends.max).astype(dtype)

    def _stored(self, shape: list[int], form: str) -> tuple[int, ...]:
        if form != "imagej":
            return tuple(shape)
        lengths = dict(zip(self.axes, shape, strict=True))
        return tuple(lengths.get(axis, 1) for axis in "TZCYX")

    def _described(self, form: str, spread: bool, shape: list[int], dtype: np.dtype, how: str) -> dict[str, Any]:
        image = self.image
        if form == "ome" and image.ome is not None:
            lengths = dict(zip(self.axes, shape, strict=True))
            text = restored_ome(image.ome, lengths, dtype.name, spread, how)
            return {"description": text.encode(), "metadata": None}
        if form == "imagej":
            said = dict(image.extra["metadata"])
            if spread:  # that they belong to each channel
                said = {key: value for key, value in said.items() if key not in ("LUTs", "Labels", "mode")}
            said["Info"] = f"{said.get('Info', '')}\n{how}".strip()
            resolution = {key: image.extra[key] for key in ("resolution", "resolutionunit")}
            return {"imagej": True, "metadata": {"axes": "TZCYX", **said}, **resolution}
        metadata: dict[str, Any] = {"axes": self.axes, "Description": how}
        if form != "vendor":
            return {"metadata": metadata, **{key: value for key, value in image.extra.items() if key != "metadata"}}
        if image.pixel_size_um is not None:
            for axis in "XY":
                metadata |= {f"PhysicalSize{axis}": image.pixel_size_um, f"PhysicalSize{axis}Unit": "µm"}
        return {"metadata": metadata, "ome": True}


def _is_in_order(axes: str, order: str) -> bool:
    return [axis for axis in order if axis in axes] == list(axes)


def _num_channels(ome: str | None) -> int:
    image = None if ome is None else ElementTree.fromstring(ome).find("{*}Image")
    return 0 if image is None else len(image.findall("{*}Pixels/{*}Channel"))
