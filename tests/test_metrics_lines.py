"""Line F1 and background residue on drawn lines, where the answer is known."""

import pytest
import torch

from dehazing import metrics


def drawn(*rows, size=64, width_px=1.5):
    """Horizontal lines of one brightness at these rows, from edge to edge, (1, Y, X)."""
    y = torch.arange(size, dtype=torch.float64)[:, None]
    image = sum(torch.exp(-0.5 * ((y - row) / width_px) ** 2) for row in rows)
    return image.expand(1, size, size)


TRUTH = drawn(20, 44)


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        (TRUTH, 1),
        (drawn(21, 43), 1),  # within 2 px
        (drawn(26, 38), 0),  # beyond
        (drawn(20), 2 / 3),  # precision 1, recall 1/2
        (drawn(8, 20, 32, 44), 2 / 3),  # precision 1/2, recall 1
        (drawn(32), 0),
        (39 * TRUTH - 700, 1),  # gain and offset are forgiven
        (-TRUTH, 0),  # dark where lines should be
        (torch.full_like(TRUTH, 5), 0),
    ],
)
def test_line_f1_by_hand(prediction, expected):
    assert metrics.line_f1(prediction, TRUTH).item() == pytest.approx(expected, abs=0.03)


def test_the_tolerance_decides_what_is_found():
    shifted = drawn(22, 46)
    found = [metrics.line_f1(shifted, TRUTH, tolerance_px=tolerance).item() for tolerance in (0.5, 3)]
    assert found == [pytest.approx(0, abs=0.03), pytest.approx(1, abs=0.03)]


def test_noise_alone_shows_no_lines():
    noise = torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(0)).double()
    assert metrics.line_f1(noise, TRUTH).item() < 0.1
    assert metrics.line_f1(TRUTH + 0.05 * noise, TRUTH).item() > 0.9


def test_background_residue_by_hand():
    truth = torch.tensor([[[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 8.0, 10.0]]])
    dark = torch.tensor([[[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]]])
    found = [metrics.background_residue(truth + k * dark - 3 * (1 - dark), truth).item() for k in (0, 0.5, -1)]
    assert found == pytest.approx([0, 0.05, -0.1])  # what is bright counts nothing


def test_background_residue_takes_the_mean_of_the_darker_half():
    truth = torch.arange(64, dtype=torch.float64).reshape(1, 8, 8)
    prediction = truth + torch.arange(64, dtype=torch.float64).reshape(1, 8, 8)
    assert metrics.background_residue(prediction, truth).item() == pytest.approx(15.5 / 63)  # mean of 0 … 31
