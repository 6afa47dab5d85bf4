"""Simulated series: an object under a pinhole that opens, seen by a camera.

The image of the focal plane at level t is Σ_z object(z) ⊛ h_t(-z), one 2-D real FFT per plane; the brightness is
kept over the whole ladder, and every level looks at the same object.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from scipy.fft import irfft, irfft2, rfft2
from tqdm import tqdm

from dehazing.data.camera import Camera
from dehazing.data.memory import check_memory, working_bytes
from dehazing.data.normalise import normalisation
from dehazing.data.objects import Lines, random_lines, read_stack
from dehazing.data.places import Place, places_in_stack
from dehazing.data.series import SPLITS, Field, Imaging, Series
from dehazing.optics import Optics, kernels, padded_size, transfer_functions
from dehazing.strict import to_mapping

MAX_PX = 32768
MAX_FIELDS = 1_000_000
PSF_PX = 33  # odd, so that one pixel is the middle


@dataclass(frozen=True)
class NumFields:
    """How many fields of view each split has."""

    train: int = 60
    validation: int = 8
    test: int = 16

    def __post_init__(self) -> None:
        if min(self.train, self.validation, self.test) < 1:
            raise ValueError(f"Every split needs at least one field, but got {self}.")
        if max(self.train, self.validation, self.test) > MAX_FIELDS:
            raise ValueError(f"No split may have more than {MAX_FIELDS} fields, but got {self}.")


@dataclass(frozen=True)
class SimulatedConfig:
    """A simulated series; the defaults alone are a complete one, T = 4."""

    kind: Literal["simulated"] = "simulated"
    object: str = "lines"  # or the path of a confocal stack (TIFF, ZYX), its voxels taken as dz_um and pixel_size_um
    pinholes_au: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 20.0)  # clean first
    num_fields: NumFields = NumFields()
    field_px: int = 128
    pad_px: int = 64  # object simulated around the field on every side: haze comes from there, too
    pixel_size_um: float = 0.1
    dz_um: float = 0.25
    depth_um: float = 5.0  # the object reaches this far above and below the focal plane
    optics: Optics = field(default_factory=Optics)
    camera: Camera = field(default_factory=Camera)
    lines: Lines = field(default_factory=Lines)
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.pinholes_au) < 2:
            raise ValueError(f"A series needs at least two pinholes, but got {list(self.pinholes_au)}.")
        if list(self.pinholes_au) != sorted(set(self.pinholes_au)) or self.pinholes_au[0] <= 0:
            raise ValueError(f"`pinholes_au` must be positive and rise, but got {list(self.pinholes_au)}.")
        if not (16 <= self.field_px <= MAX_PX and 0 <= self.pad_px <= MAX_PX):
            raise ValueError(
                f"`field_px >= 16` and `pad_px >= 0`, none above {MAX_PX}, must hold, but got "
                f"{self.field_px} and {self.pad_px}."
            )
        finite = math.isfinite(self.pixel_size_um) and math.isfinite(self.depth_um)
        if not (finite and self.pixel_size_um > 0 and 0 < self.dz_um <= self.depth_um):
            raise ValueError(
                "`pixel_size_um > 0` and `0 < dz_um <= depth_um` must hold, all finite, but got "
                f"{self.pixel_size_um}, {self.dz_um} and {self.depth_um}."
            )
        largest_um = 16 / self.optics.cutoff_per_um  # beyond it, the sum over folded frequencies takes minutes
        if self.pixel_size_um > largest_um:
            raise ValueError(
                f"`pixel_size_um` must be at most {largest_um:.3g} µm, 16 periods of the finest detail that the optics "
                f"passes, but is {self.pixel_size_um:g}."
            )
        if self.seed < 0:
            raise ValueError(f"`seed >= 0` must hold, but got {self.seed}.")
        self.check_memory(self.field_px)

    def check_memory(self, object_px: int) -> None:
        """ValueError where an object `object_px` wide, padded, needs more memory than any machine is asked for."""
        size = object_px + 2 * self.pad_px
        num_depths = self.depth_um / self.dz_um + 1
        needed = working_bytes(len(self.pinholes_au), num_depths, size, self.pixel_size_um, self.depth_um, self.optics)
        num = self.num_fields.train + self.num_fields.validation + self.num_fields.test
        needed += 8 * num * len(self.pinholes_au) * self.field_px**2  # frames and truth
        if self.object == "lines":
            volume_um3 = 2 * self.depth_um * (size * self.pixel_size_um) ** 2
            needed += self.lines.num_points(volume_um3) * 100
        check_memory(
            needed,
            f"`field_px` = {self.field_px}, `pad_px` = {self.pad_px}, `pixel_size_um` = {self.pixel_size_um:g}, "
            f"`dz_um` = {self.dz_um:g}, `depth_um` = {self.depth_um:g}, {num} fields",
        )

    @property
    def depths_um(self) -> np.ndarray:
        """Distances from the focal plane, 0 … depth_um."""
        return np.arange(round(self.depth_um / self.dz_um) + 1) * self.dz_um


def simulate(config: SimulatedConfig, progress: bool | None = None) -> Series:
    """The series of a configuration; the same configuration gives the same bytes.

    `progress`: a bar on stderr, by default only on a terminal.
    """
    notes: list[str] = []
    if config.object == "lines":
        total = sum(getattr(config.num_fields, split) for split in SPLITS)
        source = _fields_of_lines(config)
    else:
        stack = read_stack(Path(config.object))
        places, notes = stack_places(config, stack.shape)
        total, source = len(places), _fields_of_stack(config, stack, places)
    bar = tqdm(source, "simulating", total, unit="field", disable=None if progress is None else not progress)
    fields = []
    for split, index, photons in bar:
        rng = _rng(config, split, index, "camera")
        frames, truth = config.camera.expose(photons, rng), config.camera.expectation(photons)
        fields.append(Field(f"{split}_{index:03d}", split, frames, truth))
    offset, scale = normalisation(fields)
    return Series(
        fields=tuple(fields),
        pinholes=config.pinholes_au,
        pinhole_unit="au",
        offset=offset,
        scale=scale,
        pixel_size_um=config.pixel_size_um,
        regions_of_one_field=config.object != "lines",
        notes=tuple(notes),
        imaging=Imaging(focal_psf(config), config.camera.offset),
        simulated=to_mapping(config) if config.object == "lines" else None,
    )


def focal_psf(config: SimulatedConfig) -> np.ndarray:
    """h of the focal plane at every level, (L, PSF_PX, PSF_PX) float32; light from beyond its edge is folded in."""
    of_each = kernels(config.optics, config.pinholes_au, np.zeros(1), config.pixel_size_um, PSF_PX)
    return np.fft.fftshift(of_each[:, 0], axes=(-2, -1))


def stack_places(config: SimulatedConfig, shape: tuple[int, ...]) -> tuple[list[Place], list[str]]:
    """Where in a stack (Z, Y, X) the fields lie, and notes; ValueError where the settings do not fit the stack."""
    num_z, num_y, num_x = shape
    nums = {split: getattr(config.num_fields, split) for split in SPLITS}
    found = places_in_stack((num_z, num_y, num_x), nums, config.field_px, config.pad_px, config.dz_um, config.seed)
    config.check_memory(max(num_y, num_x))
    return found


def focal_plane_image(object_planes: np.ndarray, transfer: np.ndarray, focus: int) -> np.ndarray:
    """Σ_z object(z) ⊛ h(z - focus) at every level, (L, Y, X), periodic in Y and X.

    `object_planes` (Z, Y, X//2 + 1) are 2-D real FFTs of the object, `transfer` (L, D, Y, X//2 + 1) the transfer
    functions at the distances 0 … D - 1 planes from focus; planes farther away are left out.
    """
    num_levels, num_depths = transfer.shape[:2]
    image = np.zeros((num_levels, *object_planes.shape[1:]), object_planes.dtype)
    for depth in range(num_depths):
        planes = {focus - depth, focus + depth}  # h is symmetric in z, so both sides share a product
        seen = [object_planes[plane] for plane in planes if 0 <= plane < len(object_planes)]
        if seen:
            image += transfer[:, depth] * sum(seen[1:], start=seen[0])
    size = object_planes.shape[1]
    return np.clip(irfft2(image, s=(size, size)), 0, None)


class Bench(NamedTuple):
    """What lines are imaged with: transfer functions (L, D, Y, X//2 + 1) of the distances 0 … D - 1 planes from focus,
    photons per µm of line in a voxel, the field within the padded image, and the shape (Z, Y, X) of the object.
    """

    transfer: np.ndarray
    gain: float
    crop: slice
    shape: tuple[int, int, int]


def bench(config: SimulatedConfig) -> Bench:
    """The microscope of a series of lines; an in-focus line of brightness 1 peaks at the camera's `photons`."""
    size = padded_size(config.field_px, config.pad_px)
    depths_um = config.depths_um
    transfer = transfer_functions(config.optics, config.pinholes_au, depths_um, config.pixel_size_um, size)
    across_a_line = irfft(transfer[0, 0, 0], n=size)
    gain = config.camera.photons / (config.pixel_size_um * across_a_line.max())
    start = (size - config.field_px) // 2
    return Bench(transfer, gain, slice(start, start + config.field_px), (2 * len(depths_um) - 1, size, size))


def _fields_of_lines(config: SimulatedConfig) -> Iterator[tuple[str, int, np.ndarray]]:
    transfer, gain, crop, shape = bench(config)
    for split in SPLITS:
        for index in range(getattr(config.num_fields, split)):
            rng = _rng(config, split, index, "object")
            volume = random_lines(config.lines, shape, config.dz_um, config.pixel_size_um, rng)
            image = focal_plane_image(rfft2(volume), transfer, focus=transfer.shape[1] - 1)
            yield split, index, gain * image[:, crop, crop]


def _fields_of_stack(
    config: SimulatedConfig, stack: np.ndarray, places: list[Place]
) -> Iterator[tuple[str, int, np.ndarray]]:
    """The fields at the places, whose brightest in-focus structure gives the stated photons."""
    num_y, num_x = stack.shape[1:]
    size = padded_size(max(num_y, num_x), config.pad_px)
    before = [(size - length) // 2 for length in (num_y, num_x)]
    after = [size - length - first for length, first in zip((num_y, num_x), before, strict=True)]
    pads = ((0, 0), *zip(before, after, strict=True))
    planes = rfft2(np.pad(stack, pads, mode="reflect" if max(after) < min(num_y, num_x) else "symmetric"))
    transfer = transfer_functions(config.optics, config.pinholes_au, config.depths_um, config.pixel_size_um, size)
    rows, columns = (slice(start, start + length) for start, length in zip(before, (num_y, num_x), strict=True))
    images = {
        focus: focal_plane_image(planes, transfer, focus)[:, rows, columns]
        for focus in sorted({place.focus for place in places})
    }
    brightest = max(float(np.percentile(image[0], 99.9)) for image in images.values())
    if brightest <= 0:
        raise ValueError(f"{Path(config.object).name} gives an image without light, so it cannot be an object.")
    for place in places:
        seen = images[place.focus][:, place.y : place.y + config.field_px, place.x : place.x + config.field_px]
        yield place.split, place.index, config.camera.photons / brightest * seen


def _rng(config: SimulatedConfig, split: str, index: int, what: str) -> np.random.Generator:
    """Randomness of one field, whatever the number of the others."""
    return np.random.default_rng([config.seed, SPLITS.index(split), index, ("object", "camera").index(what)])
