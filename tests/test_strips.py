"""The pictures on MLflow's runs show the field's own pixels, step by step, and are the same when made again."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from studies.tracking.strips import GAP_PX, write_pictures

SIZE = 128  # shown as it is


@pytest.fixture
def images():
    ramp = np.broadcast_to(np.linspace(0, 1, SIZE, dtype=np.float32), (2, SIZE, SIZE)).copy()
    steps = np.stack([ramp * share for share in (0.25, 0.5, 1.0)])
    return {"truth": ramp, "frame": ramp, "input": 7 + ramp, "unet": 1 - ramp, "loop": ramp, "loop/steps": steps}


def test_every_method_has_its_pictures_and_a_loop_its_steps(images, tmp_path):
    assert write_pictures(images, tmp_path) == ["input", "unet", "loop"]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    write_pictures(images, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before, "nothing is doubled"
    assert sorted(path.name for path in (tmp_path / "loop" / "pictures").iterdir()) == ["restored.png", "steps.png"]
    assert [path.name for path in (tmp_path / "unet" / "pictures").iterdir()] == ["restored.png"]
    for method in ("input", "unet", "loop"):
        steps = sorted(path.name.split("+")[:3] for path in (tmp_path / method / "images").glob("*.png"))
        assert steps == [["restored", "step", str(k)] for k in range(3)], "one step has the same picture at each"
        assert len(list((tmp_path / method / "images").glob("*+compressed.webp"))) == 3


def test_pictures_stand_side_by_side_on_the_scale_of_the_truth(images, tmp_path):
    write_pictures(images, tmp_path)
    strip = np.asarray(Image.open(tmp_path / "loop" / "pictures" / "steps.png")).astype(int)
    assert strip.shape == (SIZE, 4 * SIZE + 3 * GAP_PX)
    middle = [strip[0, k * (SIZE + GAP_PX) + SIZE // 2] for k in range(4)]
    assert middle[0] < middle[1] < middle[2] == middle[3], "a quarter, a half, all of the truth"
    hazy, unet, truth = (
        np.asarray(Image.open(tmp_path / "unet" / "pictures" / "restored.png"))[0, k * (SIZE + GAP_PX) :][:SIZE]
        for k in range(3)
    )
    assert hazy[0] == 0 and hazy[-1] == 255, "the input has its own greys, else it were white"
    assert unet[0] == 255 and unet[-1] == 0 and (np.diff(truth.astype(int)) >= 0).all()


def test_a_small_field_is_enlarged_and_a_large_one_cut(images, tmp_path):
    for size, shown in ((48, 96), (400, 192)):
        stack = np.zeros((1, size, size), np.float32)
        write_pictures({"truth": stack, "input": stack, "unet": stack}, tmp_path / str(size))
        (path,) = (tmp_path / str(size) / "unet" / "images").glob("*.png")
        assert Image.open(path).size == (shown, shown)
    assert write_pictures({}, tmp_path) == []
