"""The reader of real pinhole series, described by the YAML of a dataset."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from dehazing.data.finite import is_finite
from dehazing.data.inspection import inspect
from dehazing.data.normalise import normalisation
from dehazing.data.ome_metadata import Acquisition
from dehazing.data.pinhole_files import Levels, read_levels
from dehazing.data.pinhole_settings import acquisition, settle
from dehazing.data.registration import registered
from dehazing.data.series import SPLITS, Field, Series
from dehazing.data.split import PATCH_PX, Fractions, regions, split_fields, tile_side, tiles


@dataclass(frozen=True)
class PinholeSeriesConfig:
    """A real series; what the files' metadata say may be left out, what is given wins."""

    path: str  # a file, a glob, or a pattern with {fov}, {pinhole}, {split}; in a YAML relative to it
    kind: Literal["pinhole_series"] = "pinhole_series"
    axes: str | None = None  # of a file, as CYX; C (or the one beside Y and X) is the pinhole's, P that of fields
    pinholes: tuple[float, ...] | None = None  # in file order; .inf = open
    pinhole_unit: Literal["au", "um", "px"] | None = None
    clean: float | None = None  # the pinhole taken as x_0, the smallest by default
    pixel_size_um: float | None = None
    numerical_aperture: float | None = None  # with emission_nm: Airy units from µm
    emission_nm: float | None = None
    magnification: float = 1.0  # between the pinhole whose µm the metadata state and the sample
    split: Fractions = field(default_factory=Fractions)
    register: bool = True
    guard_px: int = 32  # between the regions of one field
    tile_px: int | None = None  # side of the images that evaluation sees; chosen by default
    seed: int = 0  # of the split by field of view

    def __post_init__(self) -> None:
        if self.guard_px < 0 or self.seed < 0:
            raise ValueError(f"`guard_px >= 0` and `seed >= 0` must hold, but got {self.guard_px} and {self.seed}.")
        if self.tile_px is not None and (self.tile_px < PATCH_PX or self.tile_px % 16):
            raise ValueError(f"`tile_px` must be a multiple of 16 from {PATCH_PX} on, but is {self.tile_px}.")
        for name in ("pixel_size_um", "numerical_aperture", "emission_nm", "magnification"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"`0 < {name} < inf` must hold, but got {value:g}.")


def read_series(config: PinholeSeriesConfig) -> Series:
    """The series that a configuration describes; what the reader has to say is in its notes.

    ValueError, one sentence naming the file, for whatever cannot be read as such a series.
    """
    levels, notes = read_levels(config.path, config.axes)
    own, said = acquisition(levels, Acquisition(config.pixel_size_um, config.numerical_aperture, config.emission_nm))
    notes += said
    settings, said = settle(
        levels,
        config.pinholes,
        config.pinhole_unit,
        config.clean,
        own.numerical_aperture,
        own.emission_nm,
        config.magnification,
    )
    notes += said
    with np.errstate(over="ignore"):  # `_check` says which frame has become infinite
        frames = [level.frames[list(settings.order)].astype(np.float32) for level in levels]
    for level, stack in zip(levels, frames, strict=True):
        _check(level, stack, settings.pinholes)
    notes += inspect(frames, settings.pinholes)
    if config.register:
        for index, level in enumerate(levels):
            frames[index], note = _registered(level.name, frames[index])
            notes += note
    frames = _one_size(frames)
    fields, by_regions = _split(config, levels, frames)
    fields, said = without_constant(fields)
    notes += said
    offset, scale = normalisation(fields)
    return Series(
        fields=tuple(fields),
        pinholes=settings.pinholes,
        pinhole_unit=settings.unit,
        offset=offset,
        scale=scale,
        pixel_size_um=own.pixel_size_um,
        regions_of_one_field=by_regions,
        notes=tuple(notes),
    )


def _check(level: Levels, frames: np.ndarray, pinholes: tuple[float, ...]) -> None:
    name = level.files[0].name
    if min(frames.shape[1:]) < PATCH_PX:
        raise ValueError(
            f"Images must be at least a patch ({PATCH_PX} px) wide, but {name} is "
            f"{frames.shape[1]} x {frames.shape[2]} px."
        )
    for frame, pinhole in zip(frames, pinholes, strict=True):
        if not is_finite(frame):
            raise ValueError(
                f"{name}: the frame of pinhole {pinhole:g} must hold finite numbers within 32 bits, but does not."
            )
        if frame.min() == frame.max():
            raise ValueError(f"{name}: the frame of pinhole {pinhole:g} is constant, every pixel is {frame.min():g}.")


def _registered(name: str, frames: np.ndarray) -> tuple[np.ndarray, list[str]]:
    try:
        moved, shifts = registered(frames)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if not shifts.any():
        return moved, []
    shown = ", ".join(f"({y:+.2f}, {x:+.2f})" for y, x in shifts)
    return moved, [f"{name}: registered to the clean frame by shifts (y, x) of {shown} px."]


def _one_size(frames: list[np.ndarray]) -> list[np.ndarray]:
    """Fields that differ by a few pixels (registration crops them) are cropped to their common size."""
    sizes = np.array([stack.shape[1:] for stack in frames])
    common = sizes.min(0)
    if (common < 0.9 * sizes.max(0)).any():
        return frames
    starts = (sizes - common) // 2
    return [stack[:, y : y + common[0], x : x + common[1]] for stack, (y, x) in zip(frames, starts, strict=True)]


def _split(config: PinholeSeriesConfig, levels: list[Levels], frames: list[np.ndarray]) -> tuple[list[Field], bool]:
    names = [level.name for level in levels]
    if levels[0].split is not None:
        split_of = {level.name: level.split for level in levels}
        if set(split_of.values()) != set(SPLITS):
            raise ValueError(
                f"{{split}} must be each of {', '.join(SPLITS)}, but is {sorted(map(str, set(split_of.values())))}."
            )
    elif len(levels) < 3:
        return _by_regions(config, names, frames), True
    else:
        split_of = dict(split_fields(names, config.split, config.seed))
    fields = []
    for split in SPLITS:
        members = [(n, stack) for n, stack in zip(names, frames, strict=True) if split_of[n] == split]
        whole = len({stack.shape for _, stack in members}) == 1 and (config.tile_px is None or split == "train")
        if whole:
            fields += [Field(name, split, stack) for name, stack in members]
            continue
        smallest = tuple(min(stack.shape[axis] for _, stack in members) for axis in (1, 2))
        side = config.tile_px or tile_side((smallest[0], smallest[1]), enough=4)
        for name, stack in members:
            region = (slice(0, stack.shape[1]), slice(0, stack.shape[2]))
            fields += _tiled(name, split, stack, region, side)
    return fields, False


def _by_regions(config: PinholeSeriesConfig, names: list[str], frames: list[np.ndarray]) -> list[Field]:
    """Disjoint strips of the one or two fields there are; those of validation and test in tiles."""
    found = []
    for name, stack in zip(names, frames, strict=True):
        found.append((name, stack, regions(stack.shape[1:], config.split, config.guard_px)))
    fields = []
    for split in SPLITS:
        shapes = [tuple(axis.stop - axis.start for axis in region[split]) for _, _, region in found]
        if split == "train" and len(set(shapes)) == 1:
            for name, stack, region in found:
                rows, columns = region[split]
                fields.append(Field(f"{name}_train", split, stack[:, rows, columns]))
            continue
        smallest = min(shapes, key=min)
        side = config.tile_px or tile_side(smallest)
        side = min(side, *(min(shape) // 16 * 16 for shape in shapes))
        for name, stack, region in found:
            fields += _tiled(f"{name}_{split}", split, stack, region[split], side)
    return fields


def without_constant(fields: list[Field]) -> tuple[list[Field], list[str]]:
    """The fields but those of validation and test whose clean frame is constant, and a note of how many these were.

    ValueError where that leaves a split empty: a constant image has no range to score against.
    """
    varying = [field for field in fields if field.split == "train" or np.ptp(field.frames[0]) > 0]
    notes = []
    for split in SPLITS[1:]:
        num, left = (sum(field.split == split for field in some) for some in (fields, varying))
        if not left:
            raise ValueError(
                f"The {split} split must hold an image whose clean frame varies, but all {num} of it are constant."
            )
        if left < num:
            notes.append(f"Left out of the {split} split, constant in the clean frame: {num - left} of {num} images.")
    return varying, notes


def _tiled(name: str, split: str, stack: np.ndarray, region: tuple[slice, slice], side: int) -> list[Field]:
    cuts = tiles(region, side)
    if not cuts:
        height, width = stack.shape[1:]
        raise ValueError(
            f"{name} must hold a tile of {side} x {side} px, but the field measures {height} x {width} px."
        )
    return [Field(f"{name}_{index:02d}", split, stack[:, rows, cols]) for index, (rows, cols) in enumerate(cuts)]
