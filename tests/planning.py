"""What the tests of `plan` share: the command as it is called, and investigations of small studies."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from studies import asking
from studies.__main__ import main
from studies.executions import pipeline_of
from studies.investigation import Investigation

SMOKE = ["--scale", "smoke", "--no-timing"]

OWN = """
question: Which learning rate?
kind: unet
objective: {metric: val/psnr, mode: max}
scales: {smoke: {num_trials: 2, config: {base: 8, depth: 2, patch_px: 32, num_epochs: 2}}}
"""

JOINT = """
question: Does it help to search both at once?
kind: restorer
objective: {metric: val/psnr, mode: max}
sampler: SAMPLER
joint:
  hvae: {config: {width: 8, num_epochs: 1}, space: {beta: {choices: [0.001, 0.01]}, lr: 0.001}}
space: {share_at_T: {choices: [0.25, 0.5]}, lr: {choices: [0.001, 0.002]}, lambda_decoder: 0.0, latent_noise: 0.0}
scales: {smoke: {num_trials: 40, config: {width: 8, patch_px: 32, num_epochs: 1}}}
"""


def plan(capsys: pytest.CaptureFixture[str], root: Path, *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["plan", *words, "--storage", str(root)])
    out, err = capsys.readouterr()
    return code, out, err


def planned(capsys: pytest.CaptureFixture[str], root: Path, *words: str) -> dict[str, Any]:
    code, out, err = plan(capsys, root, *words, "--json")
    assert code == 0, err
    return json.loads(out)


def investigation(root: Path, *words: str) -> Investigation:
    parser = argparse.ArgumentParser()
    asking.add_names(parser)
    asking.add_investigation(parser)
    return asking.investigation(parser.parse_args([*words, "--scale", "smoke", "--storage", str(root)]))


def settings(**entries: Any) -> list[str]:
    """--set unet.KEY=VALUE of every entry."""
    return [word for key, value in entries.items() for word in ("--set", f"unet.{key}={json.dumps(value)}")]


def publish_past(asked: Investigation, seconds: float) -> None:
    """An execution of the study unet that differs in what is searched alone."""
    (study,) = asked.studies.values()
    suggestion = {"lr": 5e-3, "weight_decay": 1e-5, "share_at_T": 0.99}
    (execution,) = pipeline_of(study, asked.series, 7, {}, suggestion)
    how = {"seconds": seconds, "device": "cpu", "num_threads": asked.scale.num_cpus}
    metrics = {"final": {}, "history": [], **how}
    contents = {"config.json": execution.record(), "metrics.json": metrics}
    asked.store.publish(execution.address, {name: json.dumps(c).encode() for name, c in contents.items()})
