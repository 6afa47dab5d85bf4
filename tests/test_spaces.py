"""What is written of each study's space is what the study searches, with its roles."""

import importlib
import json

import pandas as pd
import pytest

from analysis.spaces import read_spaces, searched
from dehazing.stages import KINDS
from studies.executions import ranges_of
from studies.reading import read_studies
from studies.spaces import spaces_of, tracked_params
from tests.searching import JOINT


@pytest.mark.parametrize("scale", ["quickstart", "workstation"])
def test_every_study_says_its_objective_its_ranges_and_what_is_nuisance(scale):
    studies = read_studies(["all"], scale)
    spaces = json.loads(json.dumps(spaces_of(studies)))  # as it stands on disk
    assert set(spaces) == set(studies)
    for name, study in studies.items():
        assert set(spaces[name]["ranges"]) == set(ranges_of(study))
        assert [one["metric"] for one in spaces[name]["objective"]] == [one.metric for one in study.objective]
    assert spaces["degrader"]["nuisance"] == ["lr", "latent_noise"] and spaces["iterative"]["nuisance"] == []
    assert spaces["unet"]["ranges"]["lr"] == {"low": 5e-4, "high": 8e-3, "log": True}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_nuisance_is_a_part_of_the_space(kind):
    module = importlib.import_module(f"search_spaces.{kind}")
    assert set(module.NUISANCE) <= set(module.RANGES)


def test_a_space_that_was_not_kept_is_what_the_trials_tried(tmp_path):
    trials = pd.DataFrame(
        {"study": "unet", "state": "COMPLETE", "number": range(3), "params.lr": [1e-4, 1e-3, 1e-2]}
        | {"params.base": [8, 16, 32], "params.kind": ["a", "b", "a"], "metrics.val/psnr": [1.0, 2.0, float("nan")]}
    )
    space = read_spaces(tmp_path, "nothing", trials)["unet"]
    assert not space.is_recorded and space.metric == "val/psnr"
    assert space.ranges["lr"] == {"low": 1e-4, "high": 1e-2, "log": True}
    assert space.ranges["base"]["high"] == 32 and space.ranges["kind"] == {"choices": ["a", "b"]}
    table, names = searched(trials, "unet", space)
    assert len(table) == 2 and names == ["lr", "base", "kind"], "a trial without a finite objective is none"


def test_mlflow_is_told_the_nuisance_parameters_apart():
    study = read_studies(["degrader"], "quickstart")["degrader"]
    told = tracked_params(study, {"lambda_cyc": 3.0, "lr": 1e-3, "latent_noise": 0.1, "width": 16})
    assert told == {"lambda_cyc": 3.0, "nuisance/lr": 1e-3, "nuisance/latent_noise": 0.1, "width": 16}
    joint = {"hvae/beta": 0.1, "hvae/lr": 1e-3, "lr": 2e-3, "lambda_decoder": 0.0}
    named = ["hvae/beta", "nuisance/hvae/lr", "nuisance/lr", "lambda_decoder"]
    assert list(tracked_params(JOINT, joint)) == named and list(tracked_params(JOINT, joint).values()) == [
        *joint.values()
    ]
