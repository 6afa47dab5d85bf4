"""MS-SSIM against torchmetrics, MicroMS3IM against what its authors' package gave, and what both are there for."""

import numpy as np
import pytest
import torch

from dehazing import metrics
from dehazing.metrics.scales import BETAS, betas_that_fit


def noisy_pair(size_y, size_x):
    """Prediction and reference (2, Y, X); the reference's darkest pixel is 0 and its brightest 1."""
    generator = torch.Generator().manual_seed(size_y)
    reference = torch.rand(2, size_y, size_x, generator=generator).double()
    reference[:, 0, 0], reference[:, -1, -1] = 0, 1
    return reference + 0.3 * torch.rand(2, size_y, size_x, generator=generator), reference


def picture(size, phase, sharpness):
    """Bright curved lines on a background of 100, (1, Y, X)."""
    y, x = np.mgrid[:size, :size] / size
    lines = np.cos(2 * np.pi * (5 * x + 3 * y + 0.3 * np.sin(7 * y) + phase))
    image = 200 * np.exp(sharpness * (lines - 1)) * (0.4 + 0.6 * np.sin(np.pi * y) ** 2) + 100
    return torch.from_numpy(image)[None]


@pytest.mark.parametrize("size", [(44, 50), (64, 64), (99, 131), (128, 128), (176, 180)])
def test_ms_ssim_is_that_of_torchmetrics(size):
    image = pytest.importorskip("torchmetrics.functional.image")
    prediction, reference = noisy_pair(*size)
    expected = image.multiscale_structural_similarity_index_measure(
        prediction[:, None], reference[:, None], data_range=1.0, betas=betas_that_fit(*size), reduction="none"
    )
    torch.testing.assert_close(metrics.ms_ssim(prediction, reference), expected, rtol=1e-7, atol=1e-7)


def test_as_many_scales_as_have_room_for_the_window():
    assert betas_that_fit(64, 64) == (0.0448, 0.2856, 0.3001)
    nums = {22: 2, 43: 2, 44: 3, 87: 3, 88: 4, 175: 4, 176: 5, 2048: 5}
    assert {size: len(betas_that_fit(size, 4096)) for size in nums} == nums
    assert betas_that_fit(4096, 176) == BETAS


def test_ms_ssim_at_its_ends_and_between():
    prediction, reference = noisy_pair(64, 64)
    assert metrics.ms_ssim(reference, reference).tolist() == pytest.approx([1, 1])
    assert metrics.ms_ssim(1 - reference, reference).tolist() == [0, 0]  # inverted structure counts as none
    assert (metrics.ms_ssim(reference + 0.5 * (prediction - reference), reference) > 0).all()
    nearer, farther = (metrics.ms_ssim(reference + k * (prediction - reference), reference) for k in (0.5, 1))
    assert (nearer > farther).all()


def test_a_change_of_unit_changes_no_ms_ssim():
    prediction, reference = noisy_pair(64, 64)
    plain = metrics.ms_ssim(prediction, reference)
    torch.testing.assert_close(metrics.ms_ssim(50 * prediction - 7, 50 * reference - 7), plain)


@pytest.mark.parametrize(
    ("size", "phase", "sharpness", "gain", "offset", "expected"),
    [  # given by microssim 0.0.5 on torchmetrics 1.8.2 with these betas, fitted to each pair
        (64, 0.02, 1.5, 1, 0, 0.9592968821525574),
        (128, 0.02, 1.5, 1, 0, 0.893375813961029),
        (128, 0.05, 2, 39, -700, 0.884132444858551),
    ],
)
def test_micro_ms3im_is_that_of_its_authors(size, phase, sharpness, gain, offset, expected):
    prediction = gain * picture(size, phase, sharpness) + offset
    assert metrics.micro_ms3im(prediction, picture(size, 0, 4)).item() == pytest.approx(expected, abs=5e-6)


def test_micro_ms3im_forgives_gain_and_offset_where_ms_ssim_does_not():
    prediction, reference = picture(128, 0.02, 3), picture(128, 0, 4)
    other = 0.02 * prediction + 90
    plain = metrics.micro_ms3im(prediction, reference).item()
    assert metrics.micro_ms3im(other, reference).item() == pytest.approx(plain, abs=1e-6)
    assert metrics.ms_ssim(other, reference) < 0.5 * metrics.ms_ssim(prediction, reference)
    assert metrics.micro_ms3im(reference, reference).item() == pytest.approx(1, abs=1e-4)


def test_a_constant_prediction_has_no_structure():
    reference = picture(64, 0, 4)
    assert metrics.micro_ms3im(torch.full_like(reference, 3), reference).item() < 0.2
