"""Metrics against hand-computed values, scikit-image, and the invariances they are there for."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dehazing import metrics


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(1)
    reference = torch.rand(3, 32, 24, generator=generator)
    return reference + 0.1 * torch.randn(3, 32, 24, generator=generator), reference


def test_mse_and_psnr_by_hand():
    reference = torch.tensor([[[0.0, 1.0], [2.0, 4.0]]])
    prediction = reference + torch.tensor([[[0.2, -0.2], [0.4, 0.0]]])
    assert metrics.mse(prediction, reference).item() == pytest.approx((0.04 + 0.04 + 0.16) / 4)
    assert metrics.range(reference).item() == 4
    assert metrics.psnr(prediction, reference).item() == pytest.approx(10 * math.log10(16 / 0.06))
    assert metrics.psnr(reference, reference).item() == math.inf


def test_psnr_is_that_of_scikit_image(pair):
    prediction, reference = pair
    data_range = torch.tensor([1.0, 2.0, 0.5])
    expected = [
        peak_signal_noise_ratio(r.numpy(), p.numpy(), data_range=float(d))
        for p, r, d in zip(prediction, reference, data_range, strict=True)
    ]
    torch.testing.assert_close(metrics.psnr(prediction, reference, data_range).numpy(), np.array(expected))


def test_a_channel_axis_makes_no_difference(pair):
    prediction, reference = pair
    for metric in (metrics.mse, metrics.psnr, metrics.psnr_ri, metrics.ssim, metrics.band_errors):
        torch.testing.assert_close(metric(prediction[:, None], reference[:, None]), metric(prediction, reference))


def test_range_invariant_psnr_by_hand():
    # Least squares of (0, 1, 2) towards (0, 2, 3): gain 1.5, offset 1/6, residuals -1/6, 1/3, -1/6.
    reference = torch.tensor([[[0.0, 2.0, 3.0]]])
    prediction = torch.tensor([[[0.0, 1.0, 2.0]]])
    residual = (1 / 36 + 1 / 9 + 1 / 36) / 3
    assert metrics.psnr_ri(prediction, reference).item() == pytest.approx(10 * math.log10(9 / residual))


@pytest.mark.parametrize("gain", [3, -2])
def test_range_invariant_psnr_is_that_of_a_least_squares_fit_and_scikit_image(pair, gain):
    prediction, reference = (images.double().numpy() for images in pair)
    prediction = gain * prediction - 8
    expected = []
    for one, truth in zip(prediction, reference, strict=True):
        slope, offset = np.polyfit(one.ravel(), truth.ravel(), 1)
        expected.append(peak_signal_noise_ratio(truth, slope * one + offset, data_range=np.ptp(truth)))
    found = metrics.psnr_ri(torch.from_numpy(prediction), torch.from_numpy(reference))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


def test_range_invariant_psnr_forgives_gain_and_offset_and_nothing_else(pair):
    prediction, reference = pair
    plain = metrics.psnr_ri(prediction, reference)
    torch.testing.assert_close(metrics.psnr_ri(39 * prediction - 5, reference), plain, rtol=1e-5, atol=1e-5)
    assert (plain >= metrics.psnr(prediction, reference)).all()
    assert (metrics.psnr_ri(prediction.square(), reference) < plain).all()


def test_a_constant_prediction_scores_the_variance(pair):
    _, reference = pair
    expected = 10 * torch.log10(metrics.range(reference) ** 2 / reference.double().var(dim=(1, 2), correction=0))
    torch.testing.assert_close(metrics.psnr_ri(torch.full_like(reference, 7), reference), expected)


def test_ssim_is_that_of_scikit_image(pair):
    prediction, reference = pair
    assert metrics.ssim(reference, reference).tolist() == pytest.approx([1, 1, 1])
    expected = structural_similarity(
        prediction[0].double().numpy(),
        reference[0].double().numpy(),
        data_range=2.0,
        gaussian_weights=True,
        use_sample_covariance=False,
    )
    assert metrics.ssim(prediction, reference, torch.full((3,), 2.0))[0].item() == pytest.approx(expected)


def test_bands_sum_to_the_windowed_energy(pair):
    images, _ = pair
    window = torch.hann_window(32, dtype=torch.float64)[:, None] * torch.hann_window(24, dtype=torch.float64)
    images = images.double()
    mean = (images * window).sum((1, 2), keepdim=True) / window.sum()
    energy = ((images - mean) * window).square().sum((1, 2))
    torch.testing.assert_close(metrics.band_energies(images).sum(1), energy)


def test_a_wave_lies_in_its_band():
    x = torch.arange(64, dtype=torch.float64)
    for band, frequency in enumerate((4, 12, 20, 28)):  # cycles per 64 px: middles of the four bands
        wave = torch.cos(2 * math.pi * frequency * x / 64).expand(1, 64, 64)
        energies = metrics.band_energies(wave)[0]
        assert energies[band] > 0.99 * energies.sum()


def test_spectrum_by_hand():
    x = torch.arange(64, dtype=torch.float64)
    low, high = (torch.cos(2 * math.pi * f * x / 64).expand(1, 64, 64) for f in (4, 28))
    reference, prediction = low + high, low + 0.5 * high + 3
    assert metrics.band_errors(prediction, reference)[0, [0, 3]].tolist() == pytest.approx([0, 0.25], abs=1e-6)
    assert metrics.power_ratio(prediction, reference)[0, [0, 3]].tolist() == pytest.approx([1, 0.25], abs=1e-6)
    torch.testing.assert_close(metrics.band_errors(0 * reference, reference).sum(), torch.tensor(4.0).double())


def test_drift_by_hand():
    reference = (torch.tensor([[[[3.0]]]]), torch.tensor([[[[0.0, 4.0]]]]))
    z = (torch.tensor([[[[3.0]]]]), torch.tensor([[[[3.0, 0.0]]]]))
    assert metrics.drift(z, reference).item() == pytest.approx(1)  # ‖(0, 3, -4)‖ / ‖(3, 0, 4)‖
    assert metrics.cosine(z, reference).item() == pytest.approx(9 / (5 * math.sqrt(18)))
    assert metrics.norm_ratio(z, reference).item() == pytest.approx(math.sqrt(18) / 5)


def test_drift_tells_scale_from_direction():
    reference = (torch.rand(2, 4, 8, 8), torch.rand(2, 8, 4, 4))
    half = tuple(group / 2 for group in reference)
    assert metrics.drift(half, reference).tolist() == pytest.approx([0.5, 0.5])
    assert metrics.cosine(half, reference).tolist() == pytest.approx([1, 1])
    assert metrics.norm_ratio(half, reference).tolist() == pytest.approx([0.5, 0.5])


def test_what_is_no_pair_of_images_is_refused():
    with pytest.raises(ValueError, match=r"same shape.*\(1, 4, 4\) and \(1, 4, 5\)"):
        metrics.mse(torch.zeros(1, 4, 4), torch.zeros(1, 4, 5))
    with pytest.raises(ValueError, match=r"\(N, Y, X\)"):
        metrics.mse(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4))
