"""The microscope that simulates a series: its settings, and its optics as arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from scipy.fft import irfft

from dehazing.data.camera import Camera
from dehazing.data.lines import Lines
from dehazing.data.memory import check_memory, working_bytes
from dehazing.optics import Optics, padded_size, transfer_functions

MAX_PX = 32768
MAX_FIELDS = 1_000_000


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
