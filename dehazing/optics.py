"""The system PSF of a confocal pinhole; haze is the light of other planes that an open pinhole lets through.

    h(r, z) = ex(r, z) · (em(·, z) ⊛ pinhole)(r)

ex and em are Richards-Wolf PSFs, each scaled to the same energy in every plane; the pinhole is a disk. Nothing is
normalised per setting: the sum of h over a plane is the share of the plane's light that the setting detects, 1
for an open pinhole. 1 AU = 1.22 λ_em / NA, a diameter in the sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.fft import next_fast_len, rfft2
from scipy.special import j0, j1

DR_UM = 0.02  # the pinhole of 0.5 AU is then 11 samples wide: coarser grids lose its gain


@dataclass(frozen=True)
class Optics:
    """Objective and wavelengths; the defaults are a 1.4 NA oil objective and GFP."""

    numerical_aperture: float = 1.4
    refractive_index: float = 1.515
    excitation_nm: float = 488.0
    emission_nm: float = 525.0

    def __post_init__(self) -> None:
        if not 0 < self.numerical_aperture < self.refractive_index:
            raise ValueError(
                "`0 < numerical_aperture < refractive_index` must hold, but got "
                f"{self.numerical_aperture} and {self.refractive_index}."
            )
        if min(self.excitation_nm, self.emission_nm) <= 0:
            raise ValueError(f"Wavelengths must be positive, but got {self.excitation_nm} and {self.emission_nm} nm.")

    @property
    def airy_um(self) -> float:
        """1 AU, the Airy disk's diameter in the sample, in µm."""
        return 1.22 * self.emission_nm * 1e-3 / self.numerical_aperture


def airy_units(pinhole_um: float, numerical_aperture: float, emission_nm: float) -> float:
    """A pinhole's diameter, in µm in the sample, in Airy units."""
    return pinhole_um / (1.22 * emission_nm * 1e-3 / numerical_aperture)


def radial_psfs(
    optics: Optics, pinholes_au: tuple[float, ...], depths_um: np.ndarray, window_um: float = 20.0
) -> tuple[np.ndarray, np.ndarray]:
    """h(r, z) of each setting: radii r (R,) in µm and h (L, Z, R) per µm², ∫ h 2πr dr = detected share.

    `depths_um` (Z,) are distances from the focal plane, rising; `window_um`, the largest radius, must be wider
    than the pinhole and the defocus disk.
    """
    num_r = round(window_um / DR_UM)
    r = np.arange(num_r) * DR_UM
    ring = 2 * np.pi * r * DR_UM
    ring[0] = np.pi * (DR_UM / 2) ** 2
    ex = focus_intensity(optics.excitation_nm, optics, depths_um, r, underfilling=1.0)
    em = focus_intensity(optics.emission_nm, optics, depths_um, r)
    ex, em = ex / (ex @ ring)[:, None], em / (em @ ring)[:, None]
    h = np.empty((len(pinholes_au), len(depths_um), num_r))
    for level, pinhole_au in enumerate(pinholes_au):
        radius_um = pinhole_au * optics.airy_um / 2
        h[level] = ex * _through_pinhole(em, r, ring, radius_um)
    return r, h


def focus_intensity(
    wavelength_nm: float, optics: Optics, depths_um: np.ndarray, r: np.ndarray, underfilling: float = 0.0
) -> np.ndarray:
    """|I_0|² + 2|I_1|² + |I_2|² of Richards and Wolf (1959), averaged over polarisation, (Z, R), not normalised.

    `underfilling` = 1 is a laser beam whose 1/e² radius is the aperture's; 0 fills the aperture evenly. Gauss
    quadrature resolves the fastest phase: an integration that does not (the library `psf` takes 80 directions)
    loses half the light of a plane 5 µm away.
    """
    alpha = np.arcsin(optics.numerical_aperture / optics.refractive_index)
    k = 2 * np.pi * optics.refractive_index / (wavelength_nm * 1e-3)
    fastest = k * (r[-1] * np.sin(alpha) + depths_um[-1] * (1 - np.cos(alpha)))
    nodes, weights = np.polynomial.legendre.leggauss(int(0.6 * fastest) + 40)
    theta, weights = (nodes + 1) * alpha / 2, weights * alpha / 2
    sin, cos = np.sin(theta), np.cos(theta)
    beam = np.exp(-underfilling * (sin / np.sin(alpha)) ** 2)
    waves = np.exp(1j * k * np.outer(depths_um, cos)) * (weights * beam * np.sqrt(cos) * sin)
    v = k * np.outer(sin, r)
    J_0, J_1 = j0(v), j1(v)
    J_2 = 2 * np.divide(J_1, v, out=np.full_like(v, 0.5), where=v > 0) - J_0
    intensity = np.zeros((len(depths_um), len(r)))
    for bessel, polarisation, multiplicity in ((J_0, 1 + cos, 1), (J_1, sin, 2), (J_2, 1 - cos, 1)):
        amplitude = waves * polarisation
        real, imaginary = amplitude.real @ bessel, amplitude.imag @ bessel
        intensity += multiplicity * (real**2 + imaginary**2)
    return intensity


def _through_pinhole(em: np.ndarray, r: np.ndarray, ring: np.ndarray, radius_um: float) -> np.ndarray:
    """em ⊛ disk, (Z, R): the share of the light of a point at r that the pinhole lets through."""
    if not np.isfinite(radius_um) or radius_um >= 2 * r[-1]:
        return np.ones_like(em)
    # The share of the circle of radius rho around a point at r that lies inside the pinhole, exactly.
    rho = r[None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = (r[:, None] ** 2 + rho**2 - radius_um**2) / (2 * r[:, None] * rho)
    inside = np.arccos(np.clip(cosine, -1, 1)) / np.pi
    inside[0] = r <= radius_um
    inside[:, 0] = r <= radius_um
    return em @ (inside * ring).T


def kernels(
    optics: Optics,
    pinholes_au: tuple[float, ...],
    depths_um: np.ndarray,
    pixel_um: float,
    size_px: int,
) -> np.ndarray:
    """h on the pixel grid, (L, Z, size, size) float32, its centre at pixel (0, 0) (FFT order), per pixel.

    Every pixel is the mean over 3 x 3 points in it; a plane sums to the share of its light that is detected.
    """
    reach = size_px // 2 * pixel_um
    r, h = radial_psfs(optics, pinholes_au, depths_um, window_um=max(20.0, 1.5 * reach))
    half = np.arange(size_px // 2 + 1)
    points = ((half[:, None] + np.array([-1, 0, 1]) / 3) * pixel_um).ravel()
    distance = np.hypot(points[:, None], points[None, :])
    position = distance / DR_UM
    left = np.minimum(position.astype(int), len(r) - 2)
    weight = position - left
    quadrant = np.empty((*h.shape[:2], len(half), len(half)), np.float32)
    for level, depth in np.ndindex(h.shape[:2]):
        values = h[level, depth]
        fine = values[left] * (1 - weight) + values[left + 1] * weight
        quadrant[level, depth] = fine.reshape(len(half), 3, len(half), 3).mean((1, 3)) * pixel_um**2
    mirror = np.abs((np.arange(size_px) + size_px // 2) % size_px - size_px // 2)
    return quadrant[:, :, mirror][:, :, :, mirror]


def transfer_functions(
    optics: Optics,
    pinholes_au: tuple[float, ...],
    depths_um: np.ndarray,
    pixel_um: float,
    size_px: int,
) -> np.ndarray:
    """2-D real Fourier transforms of the kernels, (L, Z, size, size // 2 + 1) float32: h is even."""
    return np.ascontiguousarray(rfft2(kernels(optics, pinholes_au, depths_um, pixel_um, size_px)).real)


def padded_size(field_px: int, pad_px: int) -> int:
    """The smallest even size, fast to transform, that holds a field and `pad_px` on every side."""
    size = field_px + 2 * pad_px
    while (size := next_fast_len(size, real=True)) % 2:
        size += 1
    return size
