"""New fields of lines for a simulated series, drawn, imaged and exposed on the device: `simulator`'s twin in torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dehazing.data.camera import FULL_WELL, Camera
from dehazing.data.lines import STEP_UM, Lines
from dehazing.data.microscope import SimulatedConfig, bench
from dehazing.data.series import Series
from dehazing.strict import from_mapping


class FreshFields:
    """The microscope of a series, ready to look at objects that it has not seen yet.

    ValueError for a series whose fields cannot be simulated: acquired ones, and those of a stack, which is used up.
    """

    def __init__(self, series: Series, device: str | torch.device):
        if series.simulated is None:
            raise ValueError(
                "Fresh training fields need a simulated series of lines, stored with its settings, but this one is "
                "acquired, made from other images, or was simulated by an older version."
            )
        settings: Mapping[str, Any] = series.simulated
        self.config = from_mapping(SimulatedConfig, settings, "the settings of the series")
        transfer, self.gain, self.crop, self.shape = bench(self.config)
        self.transfer = torch.from_numpy(transfer).to(device)
        self.offset, self.scale = (
            torch.tensor(values, device=device)[:, None, None] for values in (series.offset, series.scale)
        )

    def draw(self, num: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Normalised frames and noise-free images of `num` fields, (num, T + 1, Y, X) each."""
        config, of_each = self.config, []
        for _ in range(num):
            volume = random_lines(config.lines, self.shape, config.dz_um, config.pixel_size_um, generator)
            photons = self.gain * self._image(volume)[:, self.crop, self.crop]
            frames, truth = exposed(photons, config.camera, generator), photons + config.camera.offset
            of_each.append(((frames - self.offset) / self.scale, (truth - self.offset) / self.scale))
        frames, truth = map(torch.stack, zip(*of_each, strict=True))
        return frames, truth

    def _image(self, volume: Tensor) -> Tensor:
        """Σ_z object(z) ⊛ h(z - focus) at every level, (L, Y, X)."""
        planes, focus = torch.fft.rfft2(volume), len(volume) // 2
        image = self.transfer[:, 0] * planes[focus]
        for depth in range(1, self.transfer.shape[1]):  # h is symmetric in z
            image += self.transfer[:, depth] * (planes[focus - depth] + planes[focus + depth])
        return torch.fft.irfft2(image, s=volume.shape[1:]).clamp(min=0)


def random_lines(
    lines: Lines, shape: tuple[int, int, int], dz_um: float, pixel_um: float, generator: torch.Generator
) -> Tensor:
    """A volume of lines, (Z, Y, X) float32, of the distribution that `lines.random_lines` draws from."""
    device = generator.device
    num_z, num_y, num_x = shape

    def uniform(low: float, high: float, *size: int) -> Tensor:
        return low + (high - low) * torch.rand(size, generator=generator, device=device)

    def normal(std: float | Tensor, num: int) -> Tensor:
        return std * torch.randn(num, generator=generator, device=device)

    volume_um3 = num_z * dz_um * num_y * num_x * pixel_um**2
    expected = uniform(*lines.density_per_1000um3) * volume_um3 / 1000
    num = max(1, int(torch.poisson(expected, generator=generator)))
    brightness = uniform(*lines.brightness) * normal(lines.brightness_spread, num).exp()
    length_um = uniform(*lines.length_um, num)
    spread = uniform(*lines.orientation_spread_deg).deg2rad()
    azimuth = uniform(0, math.pi) + normal(spread, num)
    tilt = normal(math.radians(lines.tilt_deg), num)[:, None]
    turn, wobble = (normal(lines.curvature_per_um, num)[:, None] for _ in range(2))
    s = torch.arange(math.ceil(lines.length_um[1] / STEP_UM), device=device) * STEP_UM  # (S,) along the line
    direction = azimuth[:, None] + turn * s + wobble * torch.sin(s)

    sums = torch.ones(len(s), len(s), device=device).triu()  # `cumsum` on a GPU does not repeat itself to the bit

    def along(velocity: Tensor, middle: Tensor, voxel_um: float) -> Tensor:
        path = velocity @ sums * STEP_UM / voxel_um
        return path - path.mean(1, keepdim=True) + middle[:, None]

    z = along(tilt.sin() * torch.ones_like(s), uniform(-0.5, num_z - 0.5, num), dz_um)
    y = along(tilt.cos() * direction.sin(), uniform(0, num_y, num), pixel_um)
    x = along(tilt.cos() * direction.cos(), uniform(0, num_x, num), pixel_um)
    weight = brightness[:, None] * STEP_UM * (s < length_um[:, None])
    return splat(z, y, x, weight, shape)


def splat(z: Tensor, y: Tensor, x: Tensor, weight: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Points into voxels, shared linearly between neighbours; what lies beyond the first and last plane is lost."""
    num_z, num_y, num_x = shape
    volume = torch.zeros(num_z * num_y * num_x, device=z.device)
    corner = [axis.floor() for axis in (z, y, x)]
    for steps in itertools.product((0, 1), repeat=3):
        share = weight
        for axis, low, step in zip((z, y, x), corner, steps, strict=True):
            share = share * (axis - low if step else 1 - (axis - low))
        plane, row, column = (low.long() + step for low, step in zip(corner, steps, strict=True))
        share = share * ((plane >= 0) & (plane < num_z))
        index = (plane.clamp(0, num_z - 1) * num_y + row % num_y) * num_x + column % num_x
        volume.index_add_(0, index.flatten(), share.flatten())
    return volume.reshape(shape)


def exposed(photons: Tensor, camera: Camera, generator: torch.Generator) -> Tensor:
    """A noisy frame of whole counts, as `Camera.expose` makes it."""
    noise = torch.randn(photons.shape, generator=generator, device=photons.device)
    electrons = torch.poisson(photons, generator=generator) + camera.read_noise * noise
    return (electrons + camera.offset).round().clamp(0, FULL_WELL)
