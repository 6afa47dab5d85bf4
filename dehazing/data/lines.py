"""What a simulated series looks at by default: random thin curved lines in a volume."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

STEP_UM = 0.05


@dataclass(frozen=True)
class Lines:
    """Ranges of the random lines; a field draws its own density, brightness and orientation within them."""

    density_per_1000um3: tuple[float, float] = (40.0, 120.0)
    length_um: tuple[float, float] = (4.0, 14.0)
    brightness: tuple[float, float] = (0.6, 1.4)  # of a field; each line's own varies around it
    brightness_spread: float = 0.4  # standard deviation of its logarithm between the lines of a field
    tilt_deg: float = 12.0  # standard deviation of the angle to the focal plane
    curvature_per_um: float = 0.12  # standard deviation of the turn within the plane, rad per µm
    orientation_spread_deg: tuple[float, float] = (15.0, 90.0)  # around the field's own direction

    def __post_init__(self) -> None:
        for name in ("density_per_1000um3", "length_um", "brightness", "orientation_spread_deg"):
            low, high = getattr(self, name)
            if not 0 < low <= high < math.inf:
                raise ValueError(f"`0 < low <= high < inf` must hold for `{name}`, but got [{low}, {high}].")
        for name in ("brightness_spread", "tilt_deg", "curvature_per_um"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"`0 <= {name} < inf` must hold, but got {getattr(self, name)}.")

    def num_points(self, volume_um3: float) -> float:
        """How many points the lines of the densest field of that volume are drawn with."""
        return self.density_per_1000um3[1] * volume_um3 / 1000 * self.length_um[1] / STEP_UM


def random_lines(
    lines: Lines, shape: tuple[int, int, int], dz_um: float, pixel_um: float, rng: np.random.Generator
) -> np.ndarray:
    """A volume of lines, (Z, Y, X) float32: µm of line per voxel times brightness; periodic in Y and X."""
    num_z, num_y, num_x = shape
    volume_um3 = num_z * dz_um * num_y * num_x * pixel_um**2
    num = max(1, int(rng.poisson(rng.uniform(*lines.density_per_1000um3) * volume_um3 / 1000)))
    field_brightness = rng.uniform(*lines.brightness)
    brightness = field_brightness * np.exp(rng.normal(0, lines.brightness_spread, num))
    length_um = rng.uniform(*lines.length_um, num)

    spread = np.deg2rad(rng.uniform(*lines.orientation_spread_deg))
    azimuth = rng.uniform(0, np.pi) + rng.normal(0, spread, num)
    tilt = rng.normal(0, np.deg2rad(lines.tilt_deg), num)
    turn = rng.normal(0, lines.curvature_per_um, num)
    wobble = rng.normal(0, lines.curvature_per_um, num)
    s = np.arange(0, lines.length_um[1], STEP_UM)  # (S,) along the line
    direction = azimuth[:, None] + turn[:, None] * s + wobble[:, None] * np.sin(s)
    z = _along(np.sin(tilt)[:, None] * np.ones_like(s), rng.uniform(-0.5, num_z - 0.5, num), dz_um)
    y = _along(np.cos(tilt)[:, None] * np.sin(direction), rng.uniform(0, num_y, num), pixel_um)
    x = _along(np.cos(tilt)[:, None] * np.cos(direction), rng.uniform(0, num_x, num), pixel_um)
    on = s < length_um[:, None]
    weight = np.broadcast_to(brightness[:, None] * STEP_UM, on.shape)[on]
    return _splat(z[on], y[on], x[on], weight, shape)


def _along(velocity: np.ndarray, middle: np.ndarray, voxel_um: float) -> np.ndarray:
    path = np.cumsum(velocity, axis=1) * STEP_UM / voxel_um
    return path - path.mean(1, keepdims=True) + middle[:, None]


def _splat(z: np.ndarray, y: np.ndarray, x: np.ndarray, weight: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Points into voxels, shared linearly between neighbours; what lies beyond the first and last plane is lost."""
    num_z, num_y, num_x = shape
    corner = [np.floor(axis).astype(int) for axis in (z, y, x)]
    rest = [axis - low for axis, low in zip((z, y, x), corner, strict=True)]
    volume = np.zeros(num_z * num_y * num_x)
    for step in np.ndindex(2, 2, 2):
        plane, row, column = (low + s for low, s in zip(corner, step, strict=True))
        share = weight.copy()
        for fraction, s in zip(rest, step, strict=True):
            share *= fraction if s else 1 - fraction
        inside = (plane >= 0) & (plane < num_z)
        index = (plane * num_y + row % num_y) * num_x + column % num_x
        volume += np.bincount(index[inside], share[inside], minlength=volume.size)
    return volume.reshape(shape).astype(np.float32)
