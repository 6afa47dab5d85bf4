"""What a pinhole detects of a plane, computed another way: by the plane waves of a two-dimensional pupil.

Nothing is shared with `dehazing.optics`: no Bessel functions of the field, no radial grid and no window in real
space. The pupil lies on a grid 0.0125 cycles per µm fine, which is a window of 80 µm; intensities are sampled every
0.083 µm, twice as fine as they vary; the pinhole is exact. Models: "vectorial" (Richards and Wolf's aplanatic lens,
each plane wave's polarisation turned as the lens turns it) and "scalar" (every plane wave alike, no apodisation).
"""

import numpy as np
from scipy.fft import fft2, fftfreq
from scipy.special import j1

STEP, SIZE = 0.0125, 960
NA, INDEX, EXCITATION_UM, EMISSION_UM = 1.4, 1.515, 0.488, 0.525
AIRY_UM = 1.22 * EMISSION_UM / NA


def detected_shares(model, pinholes_au, depths_um, underfilling):
    """Share of each plane's light that each pinhole detects, (L, Z), by Parseval's theorem over the plane."""
    k_x, k_y = _frequencies()
    shares = np.empty((len(pinholes_au), len(depths_um)))
    for column, depth_um in enumerate(depths_um):
        laser = _intensity_spectrum(model, EXCITATION_UM, depth_um, underfilling)
        emission = _intensity_spectrum(model, EMISSION_UM, depth_um, 0.0)
        emission = (emission + emission.T) / 2  # both polarisations reach the detector; one of the laser suffices
        both = (laser * emission.conj()).real
        for row, pinhole_au in enumerate(pinholes_au):
            radius_um = pinhole_au * AIRY_UM / 2
            v = 2 * np.pi * radius_um * np.hypot(k_x, k_y)
            pinhole = np.divide(2 * j1(v), v, out=np.ones_like(v), where=v > 0) * np.pi * radius_um**2
            shares[row, column] = (both * pinhole).sum() * STEP**2
    return shares


def _frequencies():
    k = fftfreq(SIZE, 1 / SIZE) * STEP
    return np.meshgrid(k, k, indexing="ij")


def _intensity_spectrum(model, wavelength_um, depth_um, underfilling):
    """Fourier transform of the intensity in a plane, 1 at frequency 0: the pupil's autocorrelation."""
    k_x, k_y = _frequencies()
    within = np.clip((NA / wavelength_um - np.hypot(k_x, k_y)) / STEP + 0.5, 0, 1)  # of each cell, in the aperture
    sin = np.minimum(np.hypot(k_x, k_y) * wavelength_um / INDEX, NA / INDEX)
    cos, phi = np.sqrt(1 - sin**2), np.arctan2(k_y, k_x)
    waves = within * np.exp(-underfilling * (sin * INDEX / NA) ** 2)
    waves = waves * np.exp(2j * np.pi * INDEX / wavelength_um * depth_um * cos)
    polarisations = [1.0]
    if model == "vectorial":
        waves = waves / np.sqrt(cos)  # √cos θ of the aplanatic lens, 1/cos θ of d²k to a solid angle
        along = cos * np.cos(phi) ** 2 + np.sin(phi) ** 2
        polarisations = [along, (cos - 1) * np.sin(phi) * np.cos(phi), -sin * np.cos(phi)]
    intensity = sum(np.abs(fft2(waves * polarisation)) ** 2 for polarisation in polarisations)
    spectrum = fft2(intensity)
    return spectrum / spectrum[0, 0].real
