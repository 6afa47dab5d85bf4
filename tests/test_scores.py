"""The evaluation table: which columns it has, and what stands where a metric does not apply."""

import io
import json
import math

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from dehazing import metrics
from dehazing.stages import scores
from studies.tracking import records


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(2)
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(40.0), indexing="ij")
    reference = torch.stack([torch.exp(-0.1 * (y - 16 - k * torch.sin(x / 9)) ** 2) for k in (2, 4)])
    return reference + 0.1 * torch.randn(2, 32, 40, generator=generator), reference


def test_every_column_holds_its_metric(pair):
    columns = scores.measured_images(*pair, full=True)
    expected = {"psnr": metrics.psnr, "psnr_ri": metrics.psnr_ri, "ssim": metrics.ssim, "mse": metrics.mse}
    expected |= scores.FULL
    for name, metric in expected.items():
        assert columns[name] == pytest.approx(metric(*pair).tolist()), name
    per_band = {"band": metrics.band_errors, "power": metrics.power_ratio, "coherence": metrics.coherence}
    for name, metric in per_band.items():
        found = [columns[f"{name}_{band}"] for band in range(scores.NUM_BANDS)]
        torch.testing.assert_close(torch.tensor(found, dtype=torch.float64).T, metric(*pair))
    assert len(columns) == len(expected) + 3 * scores.NUM_BANDS


def test_the_search_is_spared_the_dear_ones(pair):
    columns = scores.measured_images(*pair)
    assert not set(columns) & set(scores.FULL)
    full = scores.measured_images(*pair, full=True)
    assert columns == {name: full[name] for name in columns}


def test_every_column_is_told_of_and_followed(pair):
    columns = scores.measured_images(*pair, full=True)
    numbers = str(scores.NUM_BANDS - 1)
    told = {name for name in columns if f"`{name}`" in scores.__doc__}
    assert {name for name in columns if name.endswith(numbers) or not name[-1].isdigit()} - {"line_f1"} <= told
    assert "line_f1" in told
    not_followed = ("band_", "power_", "mse", "structure_share")
    followed = {name for name in columns if not name.startswith(not_followed)} | {*scores.LATENT_METRICS}
    assert set(records.MEASURES) == followed


def test_where_a_metric_does_not_apply_the_table_says_why(pair):
    images, reference = pair
    against = metrics.Reference(torch.stack([reference[0], torch.full_like(reference[0], 2)]), is_truth=False)
    columns = scores.measured_images(images, against, full=True)
    assert math.isnan(columns["ms_ssim"][1]) and math.isfinite(columns["ms_ssim"][0])
    assert all(math.isnan(value) for name in ("frc_px", "background", "line_f1") for value in columns[name])

    why = scores.refused(against.fields())
    assert set(why) == set(scores.FULL)
    assert "acquired frame" in why["frc_px"] and "2 everywhere" in why["ms_ssim"]
    table = scores.Table(["a", "b"], why)
    table.add("unet", 3, 0, columns)
    content = table.parquet()
    assert json.loads(pq.read_schema(io.BytesIO(content)).metadata[b"refused"]) == why
    assert pd.read_parquet(io.BytesIO(content))["line_f1"].isna().all()
    assert not scores.refused(metrics.Reference(reference).fields())
