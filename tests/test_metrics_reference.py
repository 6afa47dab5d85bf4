"""A kept reference gives what a tensor gives, and computes its part once; what nothing can be said of is refused."""

import pytest
import torch

from dehazing import metrics
from dehazing.metrics import place

IN_FULL = (
    metrics.ms_ssim,
    metrics.micro_ms3im,
    place.psnr_structure,
    place.psnr_background,
    place.structure_share,
    metrics.frc_resolution,
    metrics.background_residue,
    metrics.line_f1,
)
OF_PAIRS = (metrics.mse, metrics.psnr, metrics.psnr_ri, metrics.ssim, metrics.band_errors, metrics.power_ratio)
NEED_TRUTH = IN_FULL[5:]


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(1)
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(50.0), indexing="ij")
    reference = torch.stack([torch.exp(-0.1 * (y - 20 - k * torch.sin(x / 9)) ** 2) for k in (2, 4)])
    return reference + 0.1 * torch.randn(2, 48, 50, generator=generator), reference


@pytest.mark.parametrize("metric", [*IN_FULL, *OF_PAIRS, metrics.coherence, metrics.ring_correlation])
def test_a_kept_reference_changes_nothing(pair, metric):
    prediction, reference = pair
    held = metrics.Reference(reference)
    expected = metric(prediction, reference)
    for _ in range(2):
        assert torch.equal(metric(prediction, held), expected)
        metric(2 * prediction.roll(3, 1), held)  # another prediction leaves nothing behind
    alone = [metric(one, of_one) for one, of_one in zip(prediction.split(1), held.fields(), strict=True)]
    torch.testing.assert_close(torch.cat(alone), expected)
    torch.testing.assert_close(metric(prediction[:, None], reference[:, None]), expected)


def test_the_part_of_the_reference_is_computed_once(pair, monkeypatch):
    from dehazing.metrics import spectrum

    prediction, reference = pair
    transformed = []
    plain = spectrum.spectrum
    monkeypatch.setattr(spectrum, "spectrum", lambda images: (transformed.append(len(images)), plain(images))[1])
    held = metrics.Reference(reference)
    for k in range(5):
        metrics.band_scores(prediction + k, held)
    assert len(transformed) == 6  # of five predictions and one reference


@pytest.mark.parametrize("metric", IN_FULL)
def test_refused_where_nothing_can_be_said(pair, metric):
    prediction, reference = pair
    constant = torch.stack([reference[0], torch.full_like(reference[0], 3)])
    with pytest.raises(metrics.NotApplicable, match="reference that varies, but one is 3 everywhere"):
        metric(prediction, constant)
    with pytest.raises(metrics.NotApplicable, match="finite predictions, but one holds NaN"):
        metric(torch.where(prediction > 0.9, torch.nan, prediction), reference)
    with pytest.raises(ValueError, match="same shape"):
        metric(prediction[:1], reference)


@pytest.mark.parametrize(
    ("metric", "smallest_px"),
    [(metrics.ms_ssim, 22), (metrics.micro_ms3im, 22), (metrics.frc_resolution, 16), (metrics.line_f1, 16)],
)
def test_small_images_are_refused(pair, metric, smallest_px):
    prediction, reference = (images[:, 8 : 8 + smallest_px] for images in pair)
    assert metric(prediction, reference).isfinite().all()
    with pytest.raises(metrics.NotApplicable, match=rf"at least {smallest_px} px a side.*\({smallest_px - 1}, 50\)"):
        metric(prediction[:, 1:], reference[:, 1:])


def test_betas_of_ones_own_need_room_too(pair):
    with pytest.raises(metrics.NotApplicable, match="MS-SSIM needs images of at least 88 px a side"):
        metrics.ms_ssim(*pair, betas=(0.25,) * 4)


@pytest.mark.parametrize("metric", NEED_TRUTH)
def test_an_acquired_frame_is_no_truth(pair, metric):
    prediction, reference = pair
    with pytest.raises(metrics.NotApplicable, match=r"noise-free truth of a simulated series, but .* acquired frame"):
        metric(prediction, metrics.Reference(reference, is_truth=False))


def test_a_truth_without_lines_is_refused():
    ramp = torch.arange(32.0).expand(1, 32, 32)
    with pytest.raises(metrics.NotApplicable, match="a truth that shows lines"):
        metrics.line_f1(ramp, ramp)
