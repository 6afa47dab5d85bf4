"""How much memory a simulation takes, told before anything is allocated."""

from __future__ import annotations

import math

from dehazing.optics import Optics

MAX_GIB = 16


def working_bytes(
    num_levels: int, num_depths: float, size_px: float, pixel_um: float, depth_um: float, optics: Optics
) -> float:
    """Bytes, roughly, of the optics of `num_levels` pinholes on `size_px` x `size_px` pixels and of one object."""
    num_radii = optics.num_radii(depth_um)
    window_um = num_radii / (4 * optics.cutoff_per_um)
    directions = 4 * optics.refractive_index / (optics.excitation_nm * 1e-3) * (window_um + depth_um) + 40
    frequencies = 13 * window_um * optics.cutoff_per_um
    psfs = 32 * directions * num_radii + 8 * directions**2 + 16 * 512 * max(num_radii, frequencies)
    psfs += 8 * num_levels * num_depths * (3 * num_radii + 8 * frequencies)
    grids = (6 * num_levels + 16) * num_depths * size_px**2
    return psfs + 32 * num_depths * (num_radii + directions) + grids


def check_memory(needed: float, settings: str) -> None:
    """ValueError where `needed` bytes are more than the bound; `settings` says what asks for them."""
    gib = needed / 2**30 if math.isfinite(needed) else math.inf
    if gib > MAX_GIB:
        raise ValueError(f"A simulation must take at most {MAX_GIB} GiB of memory, but {settings} take {gib:.3g} GiB.")
