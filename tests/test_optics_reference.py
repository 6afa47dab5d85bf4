"""The optics against independent computations: a pupil of plane waves, and two libraries where they are installed."""

import numpy as np
import pytest

from dehazing.optics import Optics, focus_intensity, integral, kernels, radial_psfs
from tests.pupil_optics import detected_shares

PINHOLES = (0.5, 1.0, 2.0, 5.0, 20.0)
DEPTHS = np.array([0.0, 0.5, 1.0, 5.0])


def shares(optics, pinholes, depths):
    r, h = radial_psfs(optics, pinholes, depths)
    return integral(h, r)


@pytest.fixture(scope="module")
def independent():
    return detected_shares("vectorial", PINHOLES, DEPTHS, underfilling=1.0)


def test_every_plane_is_that_of_the_finer_and_wider_computation(independent):
    np.testing.assert_allclose(shares(Optics(), PINHOLES, DEPTHS), independent, rtol=0.01)


@pytest.mark.parametrize("size_px", [128, 256])
def test_the_kernels_of_the_simulator_keep_that_signal_and_that_far_plane(independent, size_px):
    detected = kernels(Optics(), PINHOLES, DEPTHS, 0.1, size_px).sum((2, 3))
    np.testing.assert_allclose(detected[:, 0], independent[:, 0], rtol=0.01)
    np.testing.assert_allclose(detected[:, -1] / detected[:, 0], independent[:, -1] / independent[:, 0], rtol=0.01)


def test_an_evenly_lit_aperture_is_that_of_the_finer_and_wider_computation():
    expected = detected_shares("vectorial", PINHOLES, DEPTHS[[0, -1]], underfilling=0.0)
    np.testing.assert_allclose(shares(Optics(underfilling=0.0), PINHOLES, DEPTHS[[0, -1]]), expected, rtol=0.03)


def test_a_scalar_model_keeps_more_light_and_explains_the_scalar_reference():
    """.35 … .99 of the focal plane and .302 of that at 5 µm at 20 AU are scalar, evenly lit, without apodisation."""
    scalar = detected_shares("scalar", PINHOLES, DEPTHS[[0, -1]], underfilling=0.0)
    np.testing.assert_allclose(scalar[:, 0], [0.35, 0.71, 0.85, 0.94, 0.99], rtol=0.05)
    assert scalar[-1, 1] / scalar[-1, 0] == pytest.approx(0.302, rel=0.05)
    more = scalar[:, 0] / shares(Optics(), PINHOLES, DEPTHS[:1])[:, 0]
    np.testing.assert_allclose(more[:2], [1.30, 1.11], atol=0.02)


def test_the_sectioning_curve_is_that_of_psfmodels():
    psfmodels = pytest.importorskip("psfmodels", reason="psfmodels (GPL-3) is optional and not installed")
    depths = np.arange(5) * 0.25
    for pinhole_au in (1.0, 3.0):
        wavelengths = {"ex_wvl": 0.488, "em_wvl": 0.525}
        medium = {"NA": 1.4, "ns": 1.515, "normalize": False}
        psf = psfmodels.confocal_psf(list(depths), 121, dxy=0.05, pinhole_au=pinhole_au, **wavelengths, **medium)
        expected = psf.sum((1, 2)) / psf[0].sum()
        [detected] = shares(Optics(underfilling=0.0), (pinhole_au,), depths)  # it lights the aperture evenly
        np.testing.assert_allclose(detected / detected[0], expected, rtol=0.05)


def test_the_laser_along_the_axis_is_that_of_psf():
    """Off the axis `psf` weighs |I_1|² by 4, the mean over polarisations by 2: its focus is wider."""
    psf = pytest.importorskip("psf", reason="psf (BSD-3) is optional and not installed")
    wavelengths = {"ex_wavelen": 488.0, "em_wavelen": 525.0}
    lens = {"num_aperture": 1.4, "refr_index": 1.515, "underfilling": 1.0}
    laser = psf.PSF(psf.ISOTROPIC | psf.EXCITATION, shape=(41, 41), dims=(2.0, 2.0), **wavelengths, **lens).data
    ours = focus_intensity(488.0, Optics(), np.linspace(0, 2, 41), np.array([0.0]), underfilling=1.0)
    np.testing.assert_allclose(ours[:, 0] / ours[0, 0], laser[:, 0], atol=1e-3)
