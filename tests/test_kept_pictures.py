"""Pictures that are kept: of the first fields, and of those on which a prediction does worst and best."""

import math

import pytest
import torch

from dehazing.stages.fields import Row
from dehazing.stages.kept_pictures import KeptPictures

UNET, HDN = [30.0, 31.0, 32.0, 33.0], [29.0, 36.0, 32.0, 33.0]  # HDN's mean is the higher one
PSNR = [28.0, 35.5, 33.0, 30.0]  # gaps to HDN: -1, -0.5, 1, -3
IMAGES = torch.arange(4.0)[:, None, None].expand(4, 2, 3)
NAMES = ["a", "b", "c", "d"]


def seen(psnr=PSNR, num_at_once=4, num_first=2):
    kept = KeptPictures(num_first)
    rows = [Row(name, 3, 0, {"psnr": values}) for name, values in (("input", [90.0] * 4), ("unet", UNET), ("hdn", HDN))]
    lower = [Row(name, 2, 1, {"psnr": [99.0] * 4}) for name in ("unet", "hdn")]  # of another level
    kept.stand_against([*rows, *lower], ("unet", "nafnet", "hdn"))
    for fields in torch.arange(4).split(num_at_once):
        kept.see("end", fields, IMAGES[fields], [psnr[k] for k in fields.tolist()])
    return kept


@pytest.mark.parametrize("num_at_once", [1, 3, 4])
def test_the_worst_and_the_best_field_are_those_of_the_gap_to_the_best_baseline(num_at_once):
    kept = seen(num_at_once=num_at_once)
    assert kept.record({"direct": "end"}, NAMES) == {
        "baseline": "hdn",
        "fields": ["c", "d"],
        "loops": {"direct": ["d", "c"]},
    }
    pictures = kept.extremes({"direct": "end"}, {"input": 10 + IMAGES})
    assert pictures["direct/extremes"][:, 0, 0].tolist() == [3, 2]
    assert pictures["input/extremes"][:, 0, 0].tolist() == [12, 13]
    assert kept.first("end")[:, 1, 2].tolist() == [0, 1]


def test_a_field_on_which_the_loop_diverged_is_the_worst():
    kept = seen([28.0, math.nan, 33.0, -math.inf])
    assert kept.record({"direct": "end"}, NAMES)["loops"] == {"direct": ["b", "c"]}


def test_of_one_field_both_are_the_same_and_one_picture_is_always_kept():
    kept = KeptPictures(0)
    kept.stand_against([Row("unet", 1, 0, {"psnr": [30.0]})], ("unet",))
    image = torch.ones(1, 2, 2)
    kept.see("end", torch.tensor([0]), image, [29.0])
    image.zero_()
    assert kept.record({"stop": "end"}, ["a"])["loops"] == {"stop": ["a", "a"]}
    assert kept.extremes({"stop": "end"}, {})["stop/extremes"].eq(1).all(), "a picture of its own"
    assert kept.first("end").shape == (1, 2, 2)
