"""Classical restorations against known answers: blurs that are undone, backgrounds that go, settings that are found."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from analysis.variants import CLASSICAL, is_variant
from dehazing.classical import richardson_lucy, wiener, without_background
from dehazing.data.series import Field, Imaging, Series
from dehazing.data.simulator import NumFields, SimulatedConfig, focal_psf, simulate
from dehazing.optics import integral, radial_psfs
from dehazing.stages.classical import chosen_controls
from dehazing.stages.turns import TURNED

DELTA = np.zeros((9, 9))
DELTA[4, 4] = 1.0
PSF = gaussian_filter(np.pad(DELTA, 4), 1.2)  # (17, 17)


def lines(size=96, seed=0):
    """Bright straight lines over a dim floor, (Y, X), already as the clean setting sees them."""
    rng = np.random.default_rng(seed)
    image = np.zeros((size, size))
    for _ in range(5):
        y, x, angle = *rng.uniform(0, size, 2), rng.uniform(0, np.pi)
        s = np.linspace(-size, size, 8 * size)
        ys, xs = (y + s * np.sin(angle)).astype(int), (x + s * np.cos(angle)).astype(int)
        inside = (ys >= 0) & (ys < size) & (xs >= 0) & (xs < size)
        image[ys[inside], xs[inside]] = 100.0
    return gaussian_filter(image, 0.7) + 1.0


def psnr(image, truth, margin=12):
    """Within a margin, where nothing from beyond the edge matters."""
    inner = (slice(margin, -margin),) * 2
    error = np.mean((image[inner] - truth[inner]) ** 2)
    return 10 * np.log10(np.ptp(truth[inner]) ** 2 / error)


def blurred(image, psf=PSF):
    """By the definition, a sum of shifted images; periodic."""
    half = len(psf) // 2
    shifts = ((dy, dx) for dy in range(-half, half + 1) for dx in range(-half, half + 1))
    return sum(psf[half + dy, half + dx] * np.roll(image, (dy, dx), (0, 1)) for dy, dx in shifts)


def test_richardson_lucy_raises_the_psnr_of_a_blurred_image_with_every_iteration():
    truth = lines()
    hazy = blurred(truth)
    scores = [psnr(richardson_lucy(hazy, PSF, DELTA, num), truth) for num in (5, 20, 80)]
    assert psnr(hazy, truth) + 2 < scores[0] < scores[1] - 1 and scores[1] < scores[2] - 1


def test_richardson_lucy_is_the_multiplicative_update_of_the_poisson_likelihood():
    hazy = blurred(lines())
    object_ = np.full_like(hazy, 0.5 * hazy.max())
    for _ in range(4):
        object_ *= blurred(hazy / blurred(object_))
    inner = (slice(40, -40),) * 2  # four iterations of two blurs carry what lies beyond the edge 64 px, but hardly 30
    np.testing.assert_allclose(richardson_lucy(hazy, PSF, DELTA, 4)[inner], object_[inner], rtol=1e-3)


def test_richardson_lucy_keeps_light_above_zero_and_makes_none_from_none():
    noisy = lines() - 50 + np.random.default_rng(0).normal(0, 5, (96, 96))
    assert (richardson_lucy(noisy, PSF, DELTA, 5) > -1e-9).all()
    assert not richardson_lucy(np.full((32, 32), -1.0), PSF, DELTA, 5).any()


def test_wiener_undoes_a_known_kernel_where_there_is_no_noise():
    truth = lines()
    hazy = blurred(truth)
    assert psnr(hazy, truth) < 30 < 50 < psnr(wiener(hazy, PSF, DELTA, 1e-10), truth, margin=20)


def test_wiener_is_its_formula_on_a_periodic_image():
    image = np.random.default_rng(0).normal(size=(64, 64))
    periodic = np.block([[image, image[:, ::-1]], [image[::-1], image[::-1, ::-1]]])  # its own mirror image beyond
    H = np.fft.fft2(np.fft.ifftshift(np.pad(PSF, ((56, 55), (56, 55)))))
    y, x = np.meshgrid(*(2 * np.pi * np.fft.fftfreq(128),) * 2, indexing="ij")
    laplacian = 4 - 2 * np.cos(y) - 2 * np.cos(x)
    filtered = np.fft.ifft2(np.fft.fft2(periodic) * H.conj() / (abs(H) ** 2 + 0.3 * laplacian**2)).real[:64, :64]
    inner = (slice(12, -12),) * 2  # the library's image ends a kernel's half beyond the edge, and repeats
    np.testing.assert_allclose(wiener(image, PSF, DELTA, 0.3)[inner], filtered[inner], atol=2e-3)


@pytest.mark.parametrize(
    "restore",
    [lambda image, *kernels: richardson_lucy(image, *kernels, 3), lambda image, *kernels: wiener(image, *kernels, 0.1)],
)
def test_an_even_image_stays_as_it_is_to_its_edges(restore):
    np.testing.assert_allclose(restore(np.full((40, 50), 7.0), PSF, PSF), 7.0, rtol=0.02)


def test_what_the_clean_setting_sees_is_blurred_by_its_kernel():
    hazy = blurred(lines())
    sharp = wiener(hazy, PSF, DELTA, 1e-3)
    inner = (slice(12, -12),) * 2
    np.testing.assert_allclose(wiener(hazy, PSF, PSF, 1e-3)[inner], blurred(sharp)[inner], rtol=1e-6)


def test_a_rolling_ball_takes_off_a_constant_and_leaves_what_is_thinner_than_the_ball():
    image = lines(64) - 1.0
    image[image < 1e-9] = 0
    found = without_background(image + 30.0, 20.0)
    np.testing.assert_allclose(found, without_background(image, 20.0), atol=1e-9)
    assert not without_background(np.full((32, 32), 5.0), 8.0).any()
    assert psnr(found, image) > 20 + psnr(image + 30.0, image)


def test_the_psf_of_the_focal_plane_is_centred_and_carries_the_detected_share():
    config = SimulatedConfig(num_fields=NumFields(1, 1, 1))
    psf = focal_psf(config)
    r, h = radial_psfs(config.optics, config.pinholes_au, np.zeros(1))
    np.testing.assert_allclose(psf.sum((1, 2)), integral(h, r)[:, 0], rtol=2e-3)
    assert all(np.unravel_index(level.argmax(), level.shape) == (16, 16) for level in psf)
    np.testing.assert_allclose(psf, psf[:, ::-1, ::-1], atol=1e-8)


def a_series(imaging=True):
    """Lines that were blurred and hazed, one field a split but three for training; no noise."""
    fields = []
    for index, split in enumerate(["train"] * 3 + ["validation", "test"]):
        object_ = lines(64, index)
        frames = np.stack([object_, blurred(object_) + 20.0]).astype(np.float32) + 100.0
        fields.append(Field(f"f{index}", split, frames, frames - 100.0))
    known = Imaging(np.stack([np.pad(DELTA, 4), PSF]).astype(np.float32), 100.0) if imaging else None
    return Series(tuple(fields), (1.0, 2.0), "au", (110.0, 130.0), (10.0, 12.0), imaging=known)


def test_every_control_restores_better_than_the_input_and_its_setting_is_the_best_of_its_candidates():
    series = a_series()
    controls = chosen_controls(series)
    names = ["richardson_lucy", "wiener", "rolling_ball", "rolling_ball_richardson_lucy"]
    assert [choice.control for choice in controls.chosen] == names and not controls.left_out
    x, x_0 = series.x("test"), series.x("test")[0, 0]
    for choice in controls.chosen:
        assert choice.value in choice.candidates
        restored = choice(torch.from_numpy(x[:, 1]))
        assert restored.shape == (1, 64, 64) and restored.dtype == torch.float32
        assert psnr(restored[0].numpy(), x_0) > psnr(x[0, 1], x_0) + 1, choice.control
    psf, clean_psf = series.imaging.psf[1].astype(float), series.imaging.psf[0].astype(float)
    clean, hazy = series.x("train")[:, 0].ravel(), series.x("train")[:, 1].astype(float)

    def left(balance):  # after a line was fitted
        restored = np.stack([wiener(image, psf, clean_psf, balance) for image in hazy]).ravel()
        return float(np.polyfit(restored, clean, 1, full=True)[1][0])

    assert controls.chosen[1].value == min(controls.chosen[1].candidates, key=left)


def test_gain_and_offset_are_those_of_least_squares_over_the_training_fields():
    series = a_series()
    (choice,) = chosen_controls(series).chosen[2:3]
    restored = np.stack([without_background(one.astype(float), choice.value) for one in series.x("train")[:, 1]])
    slope, intercept = np.polyfit(restored.ravel(), series.x("train")[:, 0].ravel(), 1)
    assert (choice.gain, choice.offset) == pytest.approx((slope, intercept), rel=1e-6)


def test_the_choice_does_not_look_at_the_test_fields():
    series = a_series()
    fields = [Field(f.name, f.split, f.frames * (f.split != "test"), None) for f in series.fields]
    blank = Series(tuple(fields), series.pinholes, "au", series.offset, series.scale, imaging=series.imaging)
    assert chosen_controls(blank).record() == chosen_controls(series).record()


def test_the_report_knows_every_control_by_its_name():
    series, real = a_series(), a_series(imaging=False)
    names = {choice.control for choice in chosen_controls(series).chosen}
    assert names == set(CLASSICAL) == {"rolling_ball", *chosen_controls(real).left_out}
    assert not any(is_variant(name) or is_variant(name + TURNED) for name in (*names, "unet", "hdn"))


def test_without_a_psf_what_needs_it_is_left_out_with_a_sentence():
    controls = chosen_controls(a_series(imaging=False))
    assert [choice.control for choice in controls.chosen] == ["rolling_ball"]
    assert set(controls.left_out) == {"richardson_lucy", "wiener", "rolling_ball_richardson_lucy"}
    assert all("PSF" in reason and reason.endswith(".") for reason in controls.left_out.values())


def test_simulated_lines_are_cleaned_by_a_rolling_ball_and_more_by_richardson_lucy_after_it():
    series = simulate(SimulatedConfig(num_fields=NumFields(3, 1, 2), field_px=96), progress=False)
    x, truth = series.x("test"), series.truth("test")
    mean = {"input": np.mean([psnr(hazy, clean) for hazy, clean in zip(x[:, -1], truth[:, 0], strict=True)])}
    for choice in chosen_controls(series).chosen:
        restored = choice(torch.from_numpy(x[:, -1])).numpy()
        mean[choice.control] = np.mean([psnr(one, clean) for one, clean in zip(restored, truth[:, 0], strict=True)])
    assert mean["rolling_ball"] > mean["input"] + 3
    assert mean["rolling_ball_richardson_lucy"] > mean["rolling_ball"] + 0.5
