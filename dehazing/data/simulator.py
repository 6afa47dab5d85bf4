"""Simulated series: an object under a pinhole that opens, seen by a camera.

The image of the focal plane at level t is Σ_z object(z) ⊛ h_t(-z), one 2-D real FFT per plane; the brightness is
kept over the whole ladder, and every level looks at the same object.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.fft import irfft2, rfft2
from tqdm import tqdm

from dehazing.data.lines import random_lines
from dehazing.data.microscope import NumFields as NumFields
from dehazing.data.microscope import SimulatedConfig, bench
from dehazing.data.normalise import normalisation
from dehazing.data.objects import read_stack
from dehazing.data.places import Place, places_in_stack
from dehazing.data.series import SPLITS, Field, Imaging, Series
from dehazing.optics import kernels, padded_size, transfer_functions
from dehazing.strict import to_mapping

PSF_PX = 33  # odd, so that one pixel is the middle


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
