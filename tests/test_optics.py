"""One test, one physical law."""

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.special import j1

from dehazing.optics import (
    Optics,
    airy_units,
    focus_intensity,
    integral,
    kernels,
    padded_size,
    radial_psfs,
    transfer_functions,
)

PINHOLES = (0.5, 1.0, 2.0, 5.0, 20.0)


@pytest.fixture(scope="module")
def detected():
    """Share of each plane's light that each setting detects, (L, Z), planes 0 … 10 µm every 0.25 µm."""
    r, h = radial_psfs(Optics(), PINHOLES, np.arange(0, 10.01, 0.25))
    return integral(h, r)


def test_share_of_light_from_far_planes_is_the_reference(detected):
    """Of planes every 0.25 µm, as a simulated object has them, those beyond 1 µm.

    An integral over depth has 4-20 % more: half of the step from 1 µm to the first of these planes.
    """
    z = np.arange(0, 10.01, 0.25)
    both_sides = detected * np.where(z > 0, 2, 1)
    share = both_sides[:, z > 1].sum(1) / both_sides.sum(1)
    np.testing.assert_allclose(share, [0.06, 0.09, 0.15, 0.34, 0.75], rtol=0.1)


def test_a_wider_pinhole_detects_more_light_of_every_plane(detected):
    assert (np.diff(detected, axis=0) > 0).all()
    assert (detected > 0).all() and (detected < 1).all()


def test_a_wider_pinhole_takes_a_larger_share_from_far_planes(detected):
    relative = detected / detected[:, :1]
    assert (np.diff(relative[:, 4:], axis=0) > 0).all()


def test_far_light_grows_as_the_pinholes_area_until_it_exceeds_the_defocus_disk(detected):
    far = detected[:, -1]
    np.testing.assert_allclose(far[1:4] / far[0], [4.0, 16.0, 100.0], rtol=0.2)


def test_an_open_pinhole_detects_all_light():
    r, h = radial_psfs(Optics(), (float("inf"),), np.array([0.0, 2.0, 10.0]))
    np.testing.assert_allclose(integral(h, r), 1.0, rtol=0.003)


def test_a_point_in_focus_is_seen_through_a_small_pinhole_as_its_area():
    """No pinhole is lost between the radii."""
    small = np.array([0.02, 0.04])
    r, h = radial_psfs(Optics(), tuple(small), np.array([0.0]))
    ex = focus_intensity(488.0, Optics(), np.array([0.0]), r, 1.0)[0]
    em = focus_intensity(525.0, Optics(), np.array([0.0]), r)[0]
    area = np.pi * (small * Optics().airy_um / 2) ** 2
    np.testing.assert_allclose(h[:, 0, 0], area * ex[0] * em[0], rtol=0.01)


@pytest.mark.parametrize("underfilling", [0.0, 1.0])
def test_every_plane_carries_the_energy_one(underfilling):
    r = np.arange(3000) * 0.01
    intensity = focus_intensity(525.0, Optics(), np.array([0.0, 2.0, 5.0]), r, underfilling)
    np.testing.assert_allclose(integral(intensity, r), 1.0, rtol=0.004)


def test_the_integral_over_a_plane_is_exact_for_a_narrow_gaussian():
    r = np.arange(100) * 0.1
    assert integral(np.exp(-((r / 0.2) ** 2)), r) == pytest.approx(np.pi * 0.04, rel=0.01)


def test_a_low_aperture_gives_the_airy_pattern():
    r = np.arange(1, 200) * 0.02
    v = 2 * np.pi * 0.3 * r / 0.525
    values = focus_intensity(525.0, Optics(0.3, 1.0), np.array([0.0]), np.append(0.0, r))[0]
    np.testing.assert_allclose(values[1:] / values[0], (2 * j1(v) / v) ** 2, atol=0.01)


@pytest.mark.parametrize(("pixel_um", "size_px"), [(0.1, 64), (0.1, 65), (0.3, 64)])
def test_kernels_sum_to_the_detected_share_whatever_the_grid(detected, pixel_um, size_px):
    kernel = kernels(Optics(), (1.0, 20.0), np.array([0.0, 1.0, 5.0]), pixel_um, size_px)
    np.testing.assert_allclose(kernel.sum((2, 3)), detected[[1, 4]][:, [0, 4, 20]], rtol=1e-3)


def test_kernels_are_centred_even_and_without_negative_light():
    kernel = kernels(Optics(), (1.0, 5.0), np.array([0.0, 2.0]), 0.1, 128)
    peak = kernel.max((2, 3), keepdims=True)
    assert kernel[0, 0].argmax() == 0
    assert (kernel > -2e-4 * peak).all()
    for axis in (2, 3):
        np.testing.assert_allclose(kernel, np.roll(np.flip(kernel, axis), 1, axis), atol=1e-8)


@pytest.mark.parametrize("pixel_um", [0.1, 0.25])
def test_each_pixel_of_a_kernel_gathers_the_light_that_falls_on_it(pixel_um):
    r, h = radial_psfs(Optics(), (0.5, 4.0), np.array([0.0, 0.5]))
    points = (np.arange(8)[:, None] + (np.arange(16) + 0.5) / 16 - 0.5) * pixel_um
    distance = np.hypot(points.ravel()[:, None], points.ravel())
    fine = CubicSpline(r, h, axis=-1)(distance).reshape(2, 2, 8, 16, 8, 16)
    kernel = kernels(Optics(), (0.5, 4.0), np.array([0.0, 0.5]), pixel_um, 128)
    expected = fine.mean((3, 5)) * pixel_um**2
    np.testing.assert_allclose(kernel[..., :8, :8], expected, atol=2e-3 * expected.max())


def test_light_that_leaves_the_grid_comes_in_on_the_other_side():
    arguments = (Optics(), (20.0, float("inf")), np.array([0.0, 5.0]), 0.1)
    wide = kernels(*arguments, 256).reshape(2, 2, 4, 64, 4, 64).sum((2, 4))
    np.testing.assert_allclose(kernels(*arguments, 64), wide, atol=1e-6)


def test_transfer_functions_are_those_of_the_kernels():
    arguments = (Optics(), (1.0,), np.array([0.0, 1.0]), 0.1, 64)
    np.testing.assert_allclose(np.fft.rfft2(kernels(*arguments)), transfer_functions(*arguments), rtol=1e-3, atol=1e-5)


def test_airy_unit():
    assert Optics().airy_um == pytest.approx(1.22 * 0.525 / 1.4)
    assert airy_units(0.915, 1.4, 525.0) == pytest.approx(2.0)


def test_padded_size_is_even_and_holds_the_pads():
    assert padded_size(128, 64) == 256
    assert all(padded_size(n, 3) % 2 == 0 and padded_size(n, 3) >= n + 6 for n in range(60, 90))


@pytest.mark.parametrize("values", [(1.6, 1.515), (0.0, 1.515)])
def test_an_impossible_aperture_is_refused(values):
    with pytest.raises(ValueError, match="numerical_aperture < refractive_index"):
        Optics(*values)


@pytest.mark.parametrize("underfilling", [-0.1, float("nan"), float("inf")])
def test_an_impossible_beam_is_refused(underfilling):
    with pytest.raises(ValueError, match="0 <= underfilling < inf"):
        Optics(underfilling=underfilling)
