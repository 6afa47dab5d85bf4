"""One test, one physical law."""

import numpy as np
import pytest
from scipy.special import j1

from dehazing.optics import (
    DR_UM,
    Optics,
    airy_units,
    focus_intensity,
    kernels,
    padded_size,
    radial_psfs,
    transfer_functions,
)

PINHOLES = (0.5, 1.0, 2.0, 5.0, 20.0)


@pytest.fixture(scope="module")
def detected():
    """Share of each plane's light that each setting detects, (L, Z), planes 0 … 10 µm every 0.25 µm."""
    r, h = radial_psfs(Optics(), PINHOLES, np.arange(0, 10.01, 0.25), window_um=30.0)
    return (h * 2 * np.pi * r * DR_UM).sum(-1)


def test_share_of_light_from_far_planes_is_the_reference(detected):
    z = np.arange(0, 10.01, 0.25)
    both_sides = detected * np.where(z > 0, 2, 1)
    share = both_sides[:, z > 1].sum(1) / both_sides.sum(1)
    np.testing.assert_allclose(share, [0.06, 0.09, 0.15, 0.34, 0.75], rtol=0.1)


def test_a_wider_pinhole_detects_more_light_of_every_plane(detected):
    assert (np.diff(detected, axis=0) > 0).all()
    assert (detected > 0).all() and (detected <= 1.001).all()


def test_a_wider_pinhole_takes_a_larger_share_from_far_planes(detected):
    relative = detected / detected[:, :1]
    assert (np.diff(relative[:, 4:], axis=0) > 0).all()


def test_far_light_grows_as_the_pinholes_area_until_it_exceeds_the_defocus_disk(detected):
    far = detected[:, -1]
    np.testing.assert_allclose(far[1:4] / far[0], [4.0, 16.0, 100.0], rtol=0.2)


def test_an_open_pinhole_detects_all_light():
    r, h = radial_psfs(Optics(), (float("inf"),), np.array([0.0, 2.0]))
    np.testing.assert_allclose((h * 2 * np.pi * r * DR_UM).sum(-1), 1.0, rtol=0.01)


def test_planes_carry_the_same_energy_before_they_are_scaled():
    r = np.arange(1500) * DR_UM
    energy = focus_intensity(525.0, Optics(), np.array([0.0, 2.0, 5.0]), r) @ r
    np.testing.assert_allclose(energy, energy[0], rtol=0.01)


def test_a_low_aperture_gives_the_airy_pattern():
    r = np.arange(1, 200) * DR_UM
    v = 2 * np.pi * 0.3 * r / 0.525
    values = focus_intensity(525.0, Optics(0.3, 1.0), np.array([0.0]), np.append(0.0, r))[0]
    np.testing.assert_allclose(values[1:] / values[0], (2 * j1(v) / v) ** 2, atol=0.01)


def test_kernels_sum_to_the_detected_share_and_are_centred(detected):
    kernel = kernels(Optics(), (1.0, 5.0), np.array([0.0, 1.0, 2.0]), 0.1, 256)
    np.testing.assert_allclose(kernel.sum((2, 3)), detected[[1, 3]][:, [0, 4, 8]], rtol=0.05)
    assert kernel[0, 0].argmax() == 0
    np.testing.assert_array_equal(kernel[..., 1:, :], kernel[..., :0:-1, :])


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
