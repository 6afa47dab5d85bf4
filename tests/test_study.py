"""Studies, scales and settings are read strictly: what is misspelt is named, with the nearest valid word."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from studies import journal
from studies.executions import check, space_of
from studies.scale import read_scale, scale_names
from studies.settings import parse
from studies.study import ordered, read_studies, study_names

SHIPPED = ["unet", "hdn", "hvae", "restorer", "degrader", "iterative"]


def own(folder: Path, name: str, **mapping: object) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(mapping))
    return str(path)


@pytest.mark.parametrize("scale", scale_names())
def test_every_shipped_study_is_read_at_every_scale_in_the_order_of_its_upstreams(scale: str) -> None:
    read_scale(scale)
    studies = read_studies(["all"], scale)
    assert list(studies) == SHIPPED == study_names()
    for name, study in studies.items():
        assert study.question.endswith("?")
        assert all(SHIPPED.index(other) < SHIPPED.index(name) for other in study.upstreams.values())


def test_a_study_brings_the_studies_that_it_builds_on() -> None:
    assert list(read_studies(["restorer"], "smoke")) == ["hvae", "restorer"]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"samplr": "tpe"}, "unknown key `samplr`; the nearest valid key is `sampler`"),
        ({"sampler": "tpx"}, "`sampler` must be one of tpe"),
        ({"kind": "degradr"}, "the nearest is `degrader`"),
        ({"objective": {"metrik": "val/psnr", "mode": "max"}}, "unknown key `metrik`"),
        ({"objective": []}, "`objective` must name at least one metric"),
        ({"upstreams": {"hvae": "hvea"}}, "the nearest is `hvae`"),
        ({"scales": {"smoke": {"num_trails": 3}}}, "unknown key `num_trails`; the nearest valid key is `num_trials`"),
        ({"scales": {"smoke": {"num_trials": 0}}}, "`num_trials >= 1` must hold"),
        ({"scales": {"smoke": {"num_trials": "three"}}}, "`num_trials` must be a whole number"),
    ],
)
def test_a_misspelt_study_is_refused_by_name(tmp_path: Path, mapping: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        read_studies([own(tmp_path, "degrader", **mapping)], "smoke")


def test_a_file_of_ones_own_is_laid_over_the_shipped_study(tmp_path: Path) -> None:
    path = own(tmp_path, "degrader", space={"lambda_cyc": {"high": 50}}, scales={"smoke": {"num_trials": 7}})
    study = read_studies([path], "smoke")["degrader"]
    assert study.num_trials == 7 and study.space == {"lambda_cyc": {"high": 50}}
    assert study.config["num_epochs"] == 2, "what the file does not say stays as shipped"


@pytest.mark.parametrize(
    ("text", "message"), [("a: [1", "not valid YAML"), ("- 1\n", "must be a mapping"), ("", "must be a mapping")]
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_studies([str(path)], "smoke")


def test_names_and_scales_that_do_not_exist_are_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="no study `restorr`; the nearest is `restorer`"):
        read_studies(["restorr"], "smoke")
    with pytest.raises(ValueError, match="no scale `smok`; the nearest is `smoke`"):
        read_scale("smok")
    with pytest.raises(ValueError, match="nearest valid key is `num_seeds`"):
        read_scale("smoke", {"num_seds": 3})


def test_studies_that_wait_for_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a, b wait for each other"):
        ordered({"a": {"x": "b"}, "b": {"y": "a"}, "unet": {}})


def test_set_reaches_settings_ranges_and_budgets() -> None:
    settings = parse(
        ["degrader.space.lambda_cyc.high=50", "degrader.config.lr=1e-3", "hvae.num_trials=9", "scale.num_seeds=5"],
        [*SHIPPED, "dataset", "scale"],
    )
    assert settings.pop("scale") == {"num_seeds": 5}
    studies = read_studies(["degrader"], "smoke", settings)
    assert studies["degrader"].space["lambda_cyc"] == {"high": 50}
    assert studies["degrader"].config["width"] == 8 and studies["degrader"].config["lr"] == "1e-3"
    assert studies["hvae"].num_trials == 9


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("degrader.num_trials", "KEY=VALUE"),
        ("num_trials=3", "KEY=VALUE"),
        ("degradr.num_trials=3", "nearest valid key is `degrader`"),
        ("degrader.num_trials=[1", "not valid YAML"),
    ],
)
def test_set_refuses_what_it_cannot_place(assignment: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse([assignment], SHIPPED)


@pytest.mark.parametrize(
    ("point", "lost"),
    [
        ({"variant": "refine_G", "num_refinement": 1}, "num_refinement: 1"),
        ({"variant": "combine_z", "num_refinements": 1}, "num_refinements: 1"),
        ({"variant": "refine_G", "num_refinements": 99}, "num_refinements: 99"),
    ],
    ids=["misspelt", "of another variant", "out of range"],
)
def test_a_point_that_the_space_would_not_take_is_refused(point, lost):
    study = read_studies(["iterative"], "quickstart", {"iterative": {"points": [point]}})["iterative"]
    with pytest.raises(ValueError, match=rf"points: .*but {lost}"):
        check(study)


def test_points_are_asked_first_and_the_rest_is_drawn(tmp_path):
    study = read_studies(["iterative"], "quickstart")["iterative"]
    opened = journal.open_study(journal.storage(tmp_path), "points", study)
    for point in study.points:
        trial = opened.ask()
        space_of(study)(trial)
        assert {name: trial.params[name] for name in point} == dict(point)
