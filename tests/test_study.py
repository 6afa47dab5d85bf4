"""Studies, scales and settings are read strictly: what is misspelt is named, with the nearest valid word."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from studies import journal
from studies.confirm import attributed_loops, check_names, instances, loop_configurations
from studies.executions import check, pipeline_of, ranges_of, space_of, study_key
from studies.reading import FOLDER, ordered, read_studies, study_names
from studies.scale import read_scale, scale_names
from studies.settings import parse

SHIPPED = ["unet", "nafnet", "hdn", "hvae", "restorer", "degrader", "iterative"]


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
        ({"sampler": "tpx"}, "`sampler` must be one of auto, tpe"),
        ({"kind": "degradr"}, "the nearest is `degrader`"),
        ({"objective": {"metrik": "val/psnr", "mode": "max"}}, "unknown key `metrik`"),
        ({"objective": []}, "`objective` must name at least one metric"),
        ({"upstreams": {"hvae": "hvea"}}, "the nearest is `hvae`"),
        ({"upstreams": {"hvea": "hvae"}}, "the stage degrader has no role `hvea`; the nearest is `hvae`"),
        ({"upstreams": {"hvae": "restorer"}}, "`hvae` must name a study of the kind hvae, but `restorer`"),
        ({"upstreams": {"hvae": ["hvae"]}}, "does not exist"),
        ({"upstreams": "hvae"}, "must be a mapping"),
        ({"objective": {"metric": "val/psnr_dirct", "mode": "max"}}, "the nearest is `val/psnr_direct`"),
        ({"joint": {"hvea": {}}}, "`joint`: the stage degrader has no role `hvea`; the nearest is `hvae`"),
        ({"joint": {"hvae": {}}}, "the role `hvae` must be filled by a study"),
        ({"upstreams": {}, "joint": {"hvae": {"num_threads": 0}}}, "`num_threads >= 1` must hold, but is 0"),
        ({"batch": 4}, "`batch` must be 1 for a stage that is trained"),
        ({"max_hours": -1}, "`max_hours >= 0.0` must hold"),
        ({"constraints": [{"metric": "val/psnr_direct"}]}, "either `at_most` or `at_least`"),
        ({"constraints": [{"metric": "val/psnr", "at_least": 3}]}, "the nearest is `val/psnr_direct`"),
        ({"scales": ["smoke"]}, "must be a mapping"),
        ({"scales": {"smoke": 3}}, "must be a mapping"),
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
    assert studies["degrader"].config["discriminator_width"] == 8 and studies["degrader"].config["lr"] == "1e-3"
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
    ("study", "settings", "message"),
    [
        ("degrader", {"controls": {"blind": 3}}, "controls: `blind`: it must be a mapping of settings, but is 3"),
        ("degrader", {"controls": {"degrader": {}}}, "a control needs another name than its study"),
        ("iterative", {"controls": {"anchored": "direct"}}, "it must be a list of variants, but is 'direct'"),
        ("iterative", {"starts": ["direkt"]}, "`starts`: there is no variant `direkt`; the nearest is `direct`"),
        ("unet", {"starts": ["direct"]}, "`starts` must be empty for unet, as loops alone begin"),
        ("unet", {"space": {"lr": {"high": "inf"}}}, "`high` must be finite"),
        ("unet", {"space": {"lr": {"log": "yes"}}}, "`log` must be true or false"),
        ("iterative", {"space": {"alpha/midpoint": {"high": 1.0}}}, "`alpha/midpoint`: `high` must fit its stage"),
    ],
)
def test_what_would_end_in_the_middle_is_refused_at_the_start(study, settings, message):
    with pytest.raises(ValueError, match=message):
        check(read_studies([study], "smoke", {study: settings})[study])


def test_an_upstream_that_is_set_is_looked_up():
    with pytest.raises(ValueError, match="names the study `nope`, which does not exist"):
        read_studies(["degrader"], "smoke", {"degrader": {"upstreams": {"hvae": "nope"}}})


def test_a_study_cannot_be_renamed():
    with pytest.raises(ValueError, match="`name` cannot be set"):
        read_studies(["degrader"], "smoke", {"degrader": {"name": "mine"}})


@pytest.mark.parametrize("name", ["num_seeds", "num_cpus", "num_parallel", "num_gpus", "search_seed"])
def test_a_scale_has_bounds(name):
    with pytest.raises(ValueError, match=f"<= {name}"):
        read_scale("smoke", {name: -1})


def test_two_instances_of_one_name_and_a_loop_without_its_control_are_refused(tmp_path):
    shipped = yaml.safe_load((FOLDER / "degrader.yaml").read_text())
    with pytest.raises(ValueError, match="stand twice: anchored, pixels"):
        check_names(read_studies(["all", own(tmp_path, "mine", **shipped)], "smoke"))
    with pytest.raises(ValueError, match="has a control `anchord`; the nearest is `anchored`"):
        check_names(read_studies(["all"], "smoke", {"iterative": {"controls": {"anchord": ["direct"]}}}))
    pixels = own(tmp_path, "degrader", controls={"other": {"domain": "pixels"}})
    without = dict(read_studies(["all", pixels], "smoke"))
    without["restorer"] = dataclasses.replace(without["restorer"], controls={})
    with pytest.raises(ValueError, match="fills the role `restorer_pixels`, which these settings of degrader need"):
        check_names(without)


def test_the_loops_come_last_and_go_on_without_a_control_that_failed(tmp_path):
    mine = own(tmp_path, "mine", **{**yaml.safe_load((FOLDER / "degrader.yaml").read_text()), "controls": {}})
    studies = read_studies(["all", mine], "smoke")
    check_names(studies)
    configs = {name: dict(study.config) for name, study in studies.items()}
    loops = {"iterative": loop_configurations(studies["iterative"], {}, {"anchored": "latents", "pixels": "pixels"})}
    plan = instances(studies, configs, loops)
    assert [instance.name for instance in plan][-3:] == ["mine", "iterative", "attribution"]
    assert {"anchored", "pixels"} <= set(plan[-2].upstreams)
    fewer = instances(studies, configs, loops, without=["pixels"])
    names = [loop["name"] for loop in fewer[-2].config["configurations"]]
    assert "pixels" not in [instance.name for instance in fewer] and "pixels" not in fewer[-2].upstreams
    assert "direct_anchored" in names and "bridge_pixels" in names and "direct_pixels" not in names
    fewer = instances(studies, configs, loops, without=["restorer_pixels"])
    names = [loop["name"] for loop in fewer[-2].config["configurations"]]
    assert not {"restorer_pixels", "pixels"} & {instance.name for instance in fewer}
    assert "direct_anchored" in names and not {"bridge_pixels", "direct_pixels"} & set(names)


def test_what_begins_lower_is_the_chosen_degraders_unmatched_form_alone():
    study = read_studies(["iterative"], "smoke", {"iterative": {"starts": ["direct", "combine_z"]}})["iterative"]
    searched = {("direct", "", "moments"): {"variant": "direct", "match": "moments"}}
    loops = loop_configurations(study, searched, {"anchored": "latents", "pixels": "pixels"})
    lower = {loop["name"] for loop in loops if loop.get("lower_starts")}
    assert lower == {"direct", "combine_z_previous", "combine_z_first"}
    assert {"direct_matched", "direct_anchored", "direct_pixels"} <= {loop["name"] for loop in loops}
    assert all("lower_starts" not in loop for loop in attributed_loops(loops)), "why is asked from T"
    assert study_key(study, "e", "d", 0, {}) == study_key(dataclasses.replace(study, starts=()), "e", "d", 0, {})


def test_what_was_searched_with_matched_moments_is_confirmed_beside_the_source_form_under_its_own_name():
    study = read_studies(["iterative"], "smoke")["iterative"]
    searched = {
        ("direct", "", "moments"): {"variant": "direct", "match": "moments"},
        ("combine_z", "first", "moments"): {"variant": "combine_z", "reference": "first", "match": "moments"},
        ("combine_z", "", "moments"): {"variant": "combine_z", "reference": "first", "match": "moments"},
        ("indi", "", "moments_of_field"): {"variant": "indi", "match": "moments_of_field"},
    }
    loops = loop_configurations(study, searched, {"anchored": "latents", "pixels": "pixels"})
    by_name = {loop["name"]: loop for loop in loops}
    assert len(by_name) == len(loops)
    matched = {name for name, loop in by_name.items() if loop.get("match", "none") != "none"}
    assert matched == {"direct_matched", "combine_z_first_matched", "indi_matched_of_field"}
    assert by_name["direct"] == {"variant": "direct", "name": "direct", "lower_starts": True}, "the source's form stays"


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
    journal.enqueue(opened, study)
    for point in study.points:
        trial = opened.ask()
        space_of(study)(trial)
        assert {name: trial.params[name] for name in point} == dict(point)


JOINT = {
    "question": "Which degrader and which loop together?",
    "kind": "iterative",
    "upstreams": {"unet": "unet", "nafnet": "nafnet", "hdn": "hdn", "hvae": "hvae"},
    "joint": {
        "restorer": {"space": {"lr": 0.004, "share_at_T": 0.4, "lambda_decoder": 0.0, "latent_noise": 0.0}},
        "degrader": {"config": {"num_epochs": 2}, "space": {"lambda_cyc": {"low": 1.0}}},
    },
    "objective": {"metric": "val/gap_db", "mode": "max"},
    "sampler": "random",
    "scales": {"smoke": {"num_trials": 3}},
}


def test_a_joint_study_searches_every_stage_that_it_names(tmp_path: Path) -> None:
    study = read_studies([own(tmp_path, "joint", **JOINT)], "smoke")["joint"]
    ranges = ranges_of(study)
    assert ranges["degrader/lambda_cyc"]["low"] == 1.0 and ranges["restorer/lr"] == {"choices": (0.004,)}
    assert list(ranges)[-1] == "refine_level"
    check(study)
    suggestion = {"restorer": {"lr": 0.004}, "degrader": {"lambda_cyc": 3.0}, "variant": "direct"}
    upstreams = {role: f"{role}/{role}" for role in study.upstreams}
    restorer, degrader, target = pipeline_of(study, "series", 0, upstreams, suggestion)
    assert degrader.upstreams == {"hvae": "hvae/hvae", "restorer": restorer.address}
    assert degrader.config["lambda_cyc"] == 3.0 and degrader.config["num_epochs"] == 2
    assert target.upstreams["degrader"] == degrader.address and target.upstreams["unet"] == "unet/unet"


def test_only_what_a_joint_trial_changes_is_made_anew(tmp_path: Path) -> None:
    study = read_studies([own(tmp_path, "joint", **JOINT)], "smoke")["joint"]
    upstreams = {role: f"{role}/{role}" for role in study.upstreams}

    def addresses(cyc: float, variant: str) -> list[str]:
        suggestion = {"restorer": {"lr": 0.004}, "degrader": {"lambda_cyc": cyc}, "variant": variant}
        return [execution.address for execution in pipeline_of(study, "series", 0, upstreams, suggestion)]

    first, loop, other = addresses(3.0, "direct"), addresses(3.0, "refine_R"), addresses(5.0, "direct")
    assert first[:2] == loop[:2] and first[2] != loop[2]
    assert first[0] == other[0] and first[1] != other[1] and first[2] != other[2]
    assert addresses(3.0, "bridge")[:1] == first[:1] and len(addresses(3.0, "bridge")) == 2, "needs no degrader"


def test_a_joint_role_whose_own_upstream_is_missing_is_refused(tmp_path: Path) -> None:
    mapping = {**JOINT, "upstreams": {"unet": "unet", "nafnet": "nafnet", "hdn": "hdn"}}
    with pytest.raises(ValueError, match="`upstreams` must name the study that fills the role `hvae`"):
        check(read_studies([own(tmp_path, "joint", **mapping)], "smoke")["joint"])
