"""The benchmark of training steps: it needs torch alone, takes steps apart without a rest, and changes none."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks import steps
from dehazing.stages.compute import Compute

ROOT = Path(__file__).resolve().parent.parent


def test_it_imports_neither_ray_nor_studies_nor_tables():
    code = "import sys, benchmarks.steps; print(sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not [name for name in ("ray", "optuna", "mlflow", "pandas", "tifffile", "studies") if f"'{name}'" in loaded]
    assert "'dehazing'" in loaded


def test_parts_last_as_long_as_what_is_in_them():
    now, waited = [0.0], []
    parts = steps.Parts(lambda: waited.append(now[0]), lambda: now[0])
    with parts.of("all"):
        now[0] += 1
        with parts.of("forward"):
            now[0] += 2
        with parts.of("forward"):
            now[0] += 3
    assert parts.seconds == {"all": 6, "forward": 5}
    assert waited == [0, 1, 3, 3, 6, 6], "before every reading of the clock"


@pytest.mark.slow
@pytest.mark.parametrize("kind", steps.STAGES)
def test_a_step_that_is_watched_is_the_same_step(kind, tmp_path):
    changes = {"patch_px": 32, "batch_size": 2}
    stages = steps.Stages(steps.random_series(2, 32, T=2), "smoke", changes, "cpu", tmp_path)
    plain, watched = (stages.build(kind, Compute()) for _ in range(2))
    parts = steps.Parts(lambda: None, time.process_time)
    torch.manual_seed(0)
    plain.train_step()
    torch.manual_seed(0)
    with parts.watching(watched), parts.of("all"):
        watched.train_step()
    assert set(parts.seconds) == {"all", "forward", "backward", "step"} and min(parts.seconds.values()) > 0
    assert parts.seconds["backward"] < parts.seconds["step"] < parts.seconds["all"]
    assert parts.seconds["forward"] + parts.seconds["step"] <= parts.seconds["all"]
    first, second = (stage.descent.module.state_dict() for stage in (plain, watched))
    assert all(torch.equal(first[name], second[name]) for name in first)
    before = dict(parts.seconds)
    watched.train_step()  # no longer watched
    assert parts.seconds == before
    assert "step" not in vars(watched.descent) and "autocast" not in vars(watched.descent)


@pytest.mark.slow
def test_the_table_has_a_row_for_each_precision_and_memory_format(tmp_path, capsys):
    out = tmp_path / "steps.json"
    words = ["--device", "cpu", "--stages", "unet", "--scale", "smoke", "--steps", "2", "--fields", "2"]
    assert steps.main([*words, "--field", "32", "--patch", "16", "--batch", "1", "--cpu-time", "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    rows = record["rows"]
    assert record["fresh_field_ms"] > 0
    assert [(row["precision"], row["channels_last"]) for row in rows] == [
        ("float32", False),
        ("float32", True),
        ("bfloat16", False),
        ("bfloat16", True),
    ]
    assert all(row["whole"] > 0 and 0 < row["outside"] < 1 for row in rows)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 7 and printed[-1].startswith("| a fresh field of 32 px: ")
