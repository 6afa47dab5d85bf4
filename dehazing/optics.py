"""The system PSF of a confocal pinhole; haze is the light of other planes that an open pinhole lets through.

    h(r, z) = ex(r, z) · (em(·, z) ⊛ pinhole)(r)        (Visser and Wiersma, J. Opt. Soc. Am. A 11, 599, 1994)

The model is vectorial: ex and em are the intensities of Richards and Wolf (Proc. R. Soc. Lond. A 253, 358, 1959,
eqs 2.30-2.32) in a medium without aberrations, per µm² of a plane, for molecules that turn freely and a
laser of any polarisation averaged over its directions; the pinhole is a disk, its diameter in the sample in Airy
units, 1 AU = 1.22 λ_em / NA. Lengths are µm, spatial frequencies cycles per µm.

ex and em each carry the energy 1 through every plane and nothing is normalised per setting: the integral of h over
a plane is the share of the plane's light that the setting detects, 1 for an open pinhole. (A scalar model with an
evenly lit aperture keeps 30 % more of the focal plane's light at 0.5 AU and 11 % more at 1 AU: without the field
along the axis the focus is narrower than a real one.)
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len
from scipy.interpolate import CubicSpline
from scipy.special import j0, j1

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Optics:
    """Objective, wavelengths and laser beam; the defaults are a 1.4 NA oil objective and GFP.

    `underfilling` = 1 is a beam whose 1/e² radius is the aperture's, 0 one that lights the aperture evenly.
    """

    numerical_aperture: float = 1.4
    refractive_index: float = 1.515
    excitation_nm: float = 488.0
    emission_nm: float = 525.0
    underfilling: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.numerical_aperture < self.refractive_index:
            raise ValueError(
                "`0 < numerical_aperture < refractive_index` must hold, but got "
                f"{self.numerical_aperture} and {self.refractive_index}."
            )
        if min(self.excitation_nm, self.emission_nm) <= 0:
            raise ValueError(f"Wavelengths must be positive, but got {self.excitation_nm} and {self.emission_nm} nm.")
        if not 0 <= self.underfilling < np.inf:
            raise ValueError(f"`0 <= underfilling < inf` must hold, but got {self.underfilling}.")

    @property
    def airy_um(self) -> float:
        """1 AU, the Airy disk's diameter in the sample, in µm."""
        return 1.22 * self.emission_nm * 1e-3 / self.numerical_aperture

    @property
    def cutoff_per_um(self) -> float:
        """The highest spatial frequency of h: 2 NA / λ of the laser plus that of the emission."""
        return 2e3 * self.numerical_aperture * (1 / self.excitation_nm + 1 / self.emission_nm)

    def num_radii(self, depth_um: float) -> float:
        """How many radii 0, 1/(4 cutoff) … hold the defocus disk of a plane and the focus' rings 20 AU around it.

        Half as many resolve h times the fastest Bessel function, so sums over them are integrals.
        """
        ratio = self.numerical_aperture / self.refractive_index
        disk_um = abs(depth_um) * ratio / np.sqrt(1 - ratio**2)
        return 4 * self.cutoff_per_um * (disk_um + 20 * self.airy_um)


def airy_units(pinhole_um: float, numerical_aperture: float, emission_nm: float) -> float:
    """A pinhole's diameter, in µm in the sample, in Airy units."""
    return pinhole_um / (1.22 * emission_nm * 1e-3 / numerical_aperture)


def radial_psfs(optics: Optics, pinholes_au: tuple[float, ...], depths_um: Array) -> tuple[Array, Array]:
    """h(r, z) of each setting: radii r (R,) in µm, from 0, and h (L, Z, R) per µm²; `integral(h, r)` = detected share.

    `depths_um` (Z,) are distances from the focal plane, rising.
    """
    r = np.arange(round(optics.num_radii(depths_um[-1]))) / (4 * optics.cutoff_per_um)
    ex = focus_intensity(optics.excitation_nm, optics, depths_um, r, optics.underfilling)
    em = focus_intensity(optics.emission_nm, optics, depths_um, r)
    radii_um = [pinhole_au * optics.airy_um / 2 for pinhole_au in pinholes_au]
    return r, np.stack([ex * passed for passed in _through_pinholes(em, r, radii_um, optics)])


def focus_intensity(
    wavelength_nm: float, optics: Optics, depths_um: Array, r: Array, underfilling: float = 0.0
) -> Array:
    """|I_0|² + 2|I_1|² + |I_2|² of Richards and Wolf (1959), averaged over polarisation, (Z, R) per µm².

        I_m(r, z) = ∫_0^α b(θ) √cos θ sin θ p_m(θ) J_m(k r sin θ) exp(i k z cos θ) dθ,  p = (1 + cos, sin, 1 - cos)

    By reciprocity it is also the emission of freely turning molecules, seen through the objective. The integral
    over a plane is 1: by Parseval's theorem it is 8π/k² ∫ b² sin θ dθ, the light through the aperture, whatever z.
    b = exp(-underfilling (sin θ / sin α)²). Gauss quadrature resolves the fastest phase: an integration that does
    not (the library `psf` takes 80 directions) loses half the emission of a plane 5 µm away.
    """
    alpha = np.arcsin(optics.numerical_aperture / optics.refractive_index)
    k = 2 * np.pi * optics.refractive_index / (wavelength_nm * 1e-3)
    fastest = k * (r[-1] * np.sin(alpha) + depths_um[-1] * (1 - np.cos(alpha)))
    nodes, weights = np.polynomial.legendre.leggauss(int(0.6 * fastest) + 40)
    theta, weights = (nodes + 1) * alpha / 2, weights * alpha / 2
    sin, cos = np.sin(theta), np.cos(theta)
    beam = np.exp(-underfilling * (sin / np.sin(alpha)) ** 2)
    energy = 8 * np.pi / k**2 * np.sum(weights * beam**2 * sin)
    waves = np.exp(1j * k * np.outer(depths_um, cos)) * (weights * beam * np.sqrt(cos) * sin)
    v = k * np.outer(sin, r)
    J_0, J_1 = j0(v), j1(v)
    J_2 = 2 * np.divide(J_1, v, out=np.full_like(v, 0.5), where=v > 0) - J_0
    intensity = np.zeros((len(depths_um), len(r)))
    for bessel, polarisation, multiplicity in ((J_0, 1 + cos, 1), (J_1, sin, 2), (J_2, 1 - cos, 1)):
        amplitude = waves * polarisation
        real, imaginary = amplitude.real @ bessel, amplitude.imag @ bessel
        intensity += multiplicity * (real**2 + imaginary**2)
    return intensity / energy


def integral(values: Array, r: Array) -> Array:
    """∫ values(r) 2πr dr over the plane, (…,) from (…, R): the trapezoidal rule with its correction at r = 0."""
    return values @ _rings(r)


def _through_pinholes(em: Array, r: Array, radii_um: list[float], optics: Optics) -> list[Array]:
    """em ⊛ disk, (Z, R) a radius: the share of the light of a point at r that the pinhole lets through.

    The product of Hankel transforms, of which the disk's is exact, so that no pinhole is too small for the grid.
    """
    finite = [radius for radius in radii_um if radius < 2 * r[-1]]
    cutoff = 2e3 * optics.numerical_aperture / optics.emission_nm
    # Copies of em ⊛ disk, one period 1/step apart, must not meet.
    q = np.linspace(0, cutoff, int(2 * cutoff * (2 * r[-1] + max(finite, default=0.0))) + 2)
    transform = _hankel(em, r, q)
    passed = []
    for radius in radii_um:
        if radius in finite:
            v = 2 * np.pi * q * radius
            disk = 2 * np.divide(j1(v), v, out=np.full_like(v, 0.5), where=v > 0) * np.pi * radius**2
            passed.append(_hankel(transform * disk, q, r))
        else:
            passed.append(np.ones_like(em))
    return passed


def _hankel(values: Array, x: Array, y: Array) -> Array:
    """∫ values(x) J_0(2πxy) 2πx dx, (…, Y) from (…, X); its own inverse. Blocks bound the memory."""
    weighted = values * _rings(x)
    blocks = [weighted @ j0(2 * np.pi * np.outer(x, y[i : i + 512])) for i in range(0, len(y), 512)]
    return np.concatenate(blocks, axis=-1)


def _rings(x: Array) -> Array:
    """Weights of ∫ f(x) 2πx dx on an even grid from 0; the first is Euler and Maclaurin's correction."""
    step = x[1]
    rings = 2 * np.pi * x * step
    rings[0], rings[-1] = np.pi * step**2 / 6, rings[-1] / 2
    return rings


def transfer_functions(
    optics: Optics, pinholes_au: tuple[float, ...], depths_um: Array, pixel_um: float, size_px: int
) -> NDArray[np.float32]:
    """2-D real Fourier transforms of h on a periodic grid of pixels, (L, Z, size, size // 2 + 1) float32: h is even.

    Each pixel gathers the light that falls on it (h's transform times the pixel's), frequencies above the pixels'
    own fold back, and what leaves one side of the grid comes in on the other: a plane's light, the value at
    frequency 0, is the detected share, whatever the size of grid and pixel.
    """
    r, h = radial_psfs(optics, pinholes_au, depths_um)
    # A twelfth of the fastest oscillation of h's transform: a cubic spline is then good to 2e-4.
    q = np.arange(0, optics.cutoff_per_um + 1 / (6 * r[-1]), 1 / (12 * r[-1]))
    spectra = [CubicSpline(q, spectrum.T) for spectrum in _hankel(h, r, q)]
    half = np.arange(size_px // 2 + 1)
    mirror = np.abs((np.arange(size_px) + size_px // 2) % size_px - size_px // 2)
    quadrants = np.zeros((len(spectra), len(depths_um), len(half), len(half)), np.float32)
    reach = int(pixel_um * optics.cutoff_per_um + 0.5)
    for fold in product(range(-reach, reach + 1), repeat=2):
        rows, columns = (half + times * size_px for times in fold)
        frequency = np.hypot(rows[:, None], columns) / (size_px * pixel_um)
        seen = frequency < optics.cutoff_per_um
        pixel = (np.sinc(rows[:, None] / size_px) * np.sinc(columns / size_px))[seen]
        for quadrant, spectrum in zip(quadrants, spectra, strict=True):
            quadrant[:, seen] += spectrum(frequency[seen]).T * pixel
    return np.ascontiguousarray(quadrants[:, :, mirror])


def kernels(
    optics: Optics, pinholes_au: tuple[float, ...], depths_um: Array, pixel_um: float, size_px: int
) -> NDArray[np.float32]:
    """h on the periodic pixel grid, (L, Z, size, size) float32, its centre at pixel (0, 0) (FFT order), per pixel."""
    transfer = transfer_functions(optics, pinholes_au, depths_um, pixel_um, size_px)
    return irfft2(transfer, s=(size_px, size_px))


def padded_size(field_px: int, pad_px: int) -> int:
    """The smallest even size, fast to transform, that holds a field and `pad_px` on every side."""
    size = field_px + 2 * pad_px
    while (size := next_fast_len(size, real=True)) % 2:
        size += 1
    return size
