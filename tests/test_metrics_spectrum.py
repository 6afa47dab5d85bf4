"""Coherence and Fourier ring correlation against plain NumPy, and cases whose answer is known."""

import math

import numpy as np
import pytest
import torch

from dehazing import metrics


def white(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def windowed(image):
    """As the metrics take it: Hann window, without its weighted mean."""
    window = np.outer(*(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size) for size in image.shape))
    return (image - (image * window).sum() / window.sum()) * window


def radii(size_y, size_x):
    return np.hypot(np.fft.fftfreq(size_y)[:, None], np.fft.fftfreq(size_x)[None])


@pytest.mark.parametrize("size", [(48, 40), (33, 45)])
def test_bands_are_those_of_a_plain_transform(size):
    reference, other = white(2, *size), white(2, *size, seed=1)
    prediction = 0.7 * reference + other
    scores = metrics.band_scores(prediction, reference, 4)
    for i in range(2):
        P, R = (np.fft.fft2(windowed(images[i].numpy())) for images in (prediction, reference))
        for band in range(4):
            low, high = band / 8, (band + 1) / 8 if band < 3 else 1
            inside = (radii(*size) >= low) & (radii(*size) < high)
            power_P, power_R = (abs(P[inside]) ** 2).sum(), (abs(R[inside]) ** 2).sum()
            assert scores.error[i, band].item() == pytest.approx((abs((P - R)[inside]) ** 2).sum() / power_R)
            assert scores.power[i, band].item() == pytest.approx(power_P / power_R)
            # coherence is the correlation, in space, of both images' shares of the band
            shares = [np.fft.ifft2(np.where(inside, spectrum, 0)).real for spectrum in (P, R)]
            expected = (shares[0] * shares[1]).sum() / math.sqrt((shares[0] ** 2).sum() * (shares[1] ** 2).sum())
            assert scores.coherence[i, band].item() == pytest.approx(expected)


def test_error_follows_from_power_and_coherence():
    error, power, coherence = metrics.band_scores(white(3, 64, 64), white(3, 64, 64, seed=1))
    torch.testing.assert_close(error, 1 + power - 2 * coherence * power.sqrt())


def test_coherence_by_hand():
    x = torch.arange(64, dtype=torch.float64)
    low, high = (torch.cos(2 * math.pi * f * x / 64).expand(1, 64, 64) for f in (4, 28))
    aside = torch.sin(2 * math.pi * 4 * x / 64).expand(1, 64, 64)  # as strong, a quarter of a period away
    coherence = metrics.coherence(low - 0.1 * high + aside + 3, low + high)[0]
    assert coherence[[0, 3]].tolist() == pytest.approx([math.sqrt(0.5), -1], abs=1e-6)


@pytest.mark.parametrize("size", [(32, 32), (33, 47)])
def test_rings_are_those_of_a_plain_transform(size):
    reference = white(1, *size)
    prediction = reference + white(1, *size, seed=1)
    curve = metrics.ring_correlation(prediction, reference)[0]
    P, R = (np.fft.fft2(windowed(images[0].numpy())) for images in (prediction, reference))
    ring = np.rint(radii(*size) * min(size)).astype(int)
    assert len(curve) == min(size) // 2
    for k, value in enumerate(curve.tolist(), start=1):
        inside = ring == k
        common = (P[inside] * R[inside].conj()).sum()
        assert abs(common.imag) < 1e-9 * abs(P[inside]).max() ** 2
        expected = common.real / math.sqrt((abs(P[inside]) ** 2).sum() * (abs(R[inside]) ** 2).sum())
        assert value == pytest.approx(expected)


def test_noise_lowers_the_ring_correlation_by_what_theory_says():
    truth = white(4, 128, 128)
    curves = metrics.ring_correlation(truth + 2 * white(4, 128, 128, seed=1), truth)
    assert curves[:, 8:].mean().item() == pytest.approx(1 / math.sqrt(1 + 2**2), abs=0.02)


@pytest.mark.parametrize("period_px", [3.0, 5.0, 9.0])
def test_the_resolution_is_where_the_truth_ends_and_noise_begins(period_px):
    truth, noise = white(2, 256, 256), white(2, 256, 256, seed=1)
    kept = torch.from_numpy(radii(256, 256)) < 1 / period_px
    prediction = torch.fft.ifft2(torch.where(kept, torch.fft.fft2(truth), torch.fft.fft2(noise))).real
    assert metrics.frc_resolution(prediction, truth).tolist() == pytest.approx([period_px] * 2, rel=0.03)


def test_the_crossing_lies_between_rings():
    truth = white(1, 64, 64)
    blurred = metrics.ring_correlation(0.3 * truth + white(1, 64, 64, seed=1), truth)[0].tolist()
    px = metrics.frc_resolution(0.3 * truth + white(1, 64, 64, seed=1), truth, threshold=0.2).item()
    k = next(k for k, value in enumerate(blurred, start=1) if value < 0.2)  # rings count from 1
    assert np.interp(64 / px, [k - 1, k], [blurred[k - 2], blurred[k - 1]]) == pytest.approx(0.2)


def test_resolution_at_its_ends():
    truth = white(1, 64, 64)
    assert metrics.frc_resolution(0.01 * truth + 5, truth).item() == 2  # gain and offset are none of its business
    assert metrics.frc_resolution(-truth, truth).item() == math.inf
