"""`plan` says what would run and what it costs, and leaves no trace."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import optuna
import pytest
import tifffile
import yaml
from optuna.trial import TrialState

from studies.planning.parameters import parameters_of
from studies.planning.plan import plan_of
from studies.resources import Resources
from tests.planning import JOINT, SMOKE, investigation, plan, planned, publish_past, settings


def test_it_counts_and_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "results"
    code, out, err = plan(capsys, root, *SMOKE, "--set", "degrader.space.lambda_cyc.high=50")
    assert code == 0 and err == "" and not root.exists()
    assert "lambda_cyc         0.1 … 50.0 (log)" in out
    assert "search: at most 15 distinct executions, of which the store has 0" in out
    assert "confirmation: 22 executions on the seeds 1, 2" in out
    assert "unknown: no past executions, and nothing was timed" in out
    assert "warning: with 2 seeds every verdict is `undecided`" in out


def test_json_has_all_of_it_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = planned(capsys, tmp_path / "results", *SMOKE)
    degrader, iterative = (next(s for s in found["studies"] if s["name"] == name) for name in ("degrader", "iterative"))
    assert degrader["question"].startswith("Which degrader") and degrader["sampler"] == "tpe"
    assert degrader["executions"] == {
        "distinct": 2,
        "exact": False,
        "in_store": 0,
        "failed_before": 0,
        "made_before": 0,
        "to_do": 2,
    }
    assert iterative["executions"]["exact"] and not degrader["settled"]
    assert {p["name"]: p["only_with"] for p in iterative["space"]}["alpha/steepness"] == {
        "parameter": "alpha/kind",
        "choices": ["sigmoid"],
    }
    assert found["search"] == {"distinct": 15, "exact": False, "in_store": 0}
    assert found["confirmation"]["distinct"] == 22 and not found["confirmation"]["known"]
    assert found["forecast"]["unknown"] == 37 and found["disk"]["free_bytes"] > 0
    assert found["resources"]["device"] == "cpu" and found["series"]["size_px"] == [64, 64]


@pytest.mark.parametrize("key", ["max_hours", "max_gpu_hours"])
def test_hours_that_are_spent_are_not_left(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = investigation(tmp_path, "unet", *settings(sampler="random", num_trials=3, **{key: 1.0}))
    publish_past(asked, 2000.0)
    resources = Resources("cpu", asked.scale.num_cpus, 1.0, 1)  # a GPU's hours, and figures of a CPU
    monkeypatch.setattr("studies.planning.plan.resources_of", lambda *_: resources)
    assert plan_of(asked, timing=False)["forecast"]["wall_s"] == pytest.approx(3600)
    found = asked.open(asked.studies["unet"])
    found.add_trial(optuna.trial.create_trial(state=TrialState.FAIL))
    found.set_user_attr("spent/a", {"wall_s": 1000.0, "gpu_s": 1000.0})
    found.set_user_attr("spent/b", {"wall_s": 1600.0, "gpu_s": 1600.0})
    again = plan_of(asked, timing=False)
    assert again["forecast"]["wall_s"] == again["forecast"]["gpu_s"] == pytest.approx(1000)
    assert any(f"`{key}` = 1, of which 0.72 are spent, ends it before" in warning for warning in again["warnings"])


def test_a_best_trial_at_the_end_of_its_range_is_warned_about(tmp_path: Path) -> None:
    asked = investigation(tmp_path, "unet")
    found = asked.open(asked.studies["unet"])
    ranges = {p.name: p.domain for p in parameters_of(asked.studies["unet"])}
    distributions = {
        name: optuna.distributions.FloatDistribution(d["low"], d["high"], log=d.get("log", False))
        for name, d in ranges.items()
    }
    params = {"share_at_T": 0.3, "lr": ranges["lr"]["high"], "weight_decay": 1e-4}
    found.add_trial(
        optuna.trial.create_trial(
            value=1.0,
            params=params,
            distributions=distributions,  # type: ignore[arg-type]
            user_attrs={"fingerprint": "0123456789abcdef"},
        )
    )
    warnings = plan_of(asked, timing=False)["warnings"]
    assert any("`lr` = 0.008, at the high end of its range" in warning for warning in warnings)
    assert not any("`share_at_T`" in warning for warning in warnings)


def test_json_has_no_infinities(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    constraint = "unet.constraints=[{metric: val/psnr, at_most: .inf}]"
    code, out, err = plan(capsys, tmp_path, "unet", *SMOKE, "--json", "--set", constraint)
    assert code == 0, err
    assert json.loads(out)["studies"][0]["constraints"] == [{"metric": "val/psnr", "at_most": None, "at_least": None}]


def test_a_joint_study_is_not_in_the_confirmation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "both.yaml").write_text(JOINT.replace("SAMPLER", "random"))
    found = planned(capsys, tmp_path / "results", "all", str(tmp_path / "both.yaml"), *SMOKE)
    assert "both" not in found["confirmation"]["instances"] and found["confirmation"]["distinct"] == 22
    assert any("`both` searches several stages jointly" in warning for warning in found["warnings"])


def test_it_reads_the_files_of_a_dataset_and_stores_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = np.random.default_rng(0).integers(100, 4000, (300, 80))
    levels = np.stack([image, 2 * image, 3 * image]).astype(np.uint16)
    tifffile.imwrite(tmp_path / "cell.tif", levels, photometric="minisblack")
    own = {"kind": "pinhole_series", "path": "cell.tif", "axes": "CYX", "pinholes": [4, 1, 2], "guard_px": 8}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({**own, "pinhole_unit": "au"}))
    words = ["--dataset", str(tmp_path / "own.yaml"), "--no-timing"]
    code, out, err = plan(capsys, tmp_path / "results", *words)
    assert code == 0, err
    assert "note: The levels are sorted by pinhole, from [4, 1, 2] to [1, 2, 4]." in out
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_it_times_what_nothing_is_known_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = planned(capsys, tmp_path / "results", "--scale", "smoke")
    assert not (tmp_path / "results").exists()
    costs = [cost for study in found["studies"] for cost in study["costs"]] + found["confirmation"]["costs"]
    assert all(
        cost["source"].startswith("timed") and cost["seconds"] > 0 and cost["published_bytes"] > 0 for cost in costs
    )
    (loops,) = found["studies"][-1]["costs"]
    assert found["studies"][-1]["name"] == "iterative" and loops["source"].endswith(f"{loops['num']} together")
    assert found["forecast"]["unknown"] == 0 and found["forecast"]["wall_s"] > 0 and found["forecast"]["gpu_s"] == 0
    assert found["disk"]["needed_bytes"] > found["series"]["cost"]["published_bytes"] > 0
