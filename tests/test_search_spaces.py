"""Every space suggests only what its stage has, under every sampler; its ranges can be overridden, never misspelt."""

from __future__ import annotations

import importlib
import json
import pickle
from pathlib import Path

import optuna
import pytest

from dehazing.inference import COMBINATIONS, REFINEMENTS
from dehazing.schedules import PARAMETERS
from dehazing.stages import KINDS, stage_module
from dehazing.strict import from_mapping, to_mapping
from search_spaces import alpha
from search_spaces.ranges import overridden, suggest
from studies import journal
from studies.executions import check, flattened, nested, pipeline_of, points_of, ranges_of, searched_config, space_of
from studies.reading import read_studies
from studies.samplers import make_sampler, sampler_for
from studies.study import SAMPLERS

RANGES = {"lr": {"low": 1e-4, "high": 1e-2, "log": True}, "num": {"low": 1, "high": 4}, "kind": {"choices": ("a", "b")}}


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name not in ("gp", "grid", "auto")])
@pytest.mark.parametrize("kind", KINDS)
def test_every_suggestion_is_a_setting_of_the_stage(kind: str, sampler: str) -> None:
    study = read_studies([kind], "smoke")[kind]
    space, module = space_of(study), stage_module(kind)
    searching = optuna.create_study(
        sampler=make_sampler(sampler, 0, 40), directions=["maximize"] * len(study.objective)
    )
    for number in range(40):
        trial = searching.ask()
        space(trial)
        from_mapping(module.Config, searched_config(study, nested(trial.params)), kind)
        searching.tell(trial, [float(number % 7)] * len(study.objective))


@pytest.mark.parametrize("kind", KINDS)
def test_spaces_can_be_pickled_and_their_ranges_are_used(kind: str) -> None:
    study = read_studies([kind], "smoke")[kind]
    space = pickle.loads(pickle.dumps(space_of(study)))
    ranges = importlib.import_module(f"search_spaces.{kind}").RANGES
    seen = set()
    sampler = optuna.samplers.RandomSampler(seed=1)
    for _ in range(200):
        trial = optuna.create_study(sampler=sampler).ask()
        space(trial)
        seen |= set(trial.params)
    assert seen == set(ranges)


def test_only_the_chosen_schedules_parameters_exist() -> None:
    searching = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(50):
        trial = searching.ask()
        alpha.space(trial)
        assert set(trial.params) == {"kind", *PARAMETERS[trial.params["kind"]]}


def test_only_what_the_variant_uses_exists() -> None:
    space = space_of(read_studies(["iterative"], "smoke")["iterative"])
    searching = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(100):
        trial = searching.ask()
        space(trial)
        variant = trial.params["variant"]
        assert ("alpha/kind" in trial.params) == (variant in COMBINATIONS)
        assert ("num_refinements" in trial.params) == (variant in REFINEMENTS)
        assert "match" in trial.params


def test_names_nest_at_the_slash() -> None:
    assert nested({"alpha/kind": "power", "alpha/exponent": 2.0, "variant": "x"}) == {
        "alpha": {"kind": "power", "exponent": 2.0},
        "variant": "x",
    }


def test_an_override_moves_a_range() -> None:
    ranges = overridden(RANGES, {"lr": {"high": "5e-2"}, "kind": {"choices": ["b"]}, "num": {"low": 2}}, "study")
    assert ranges["lr"] == {"low": 1e-4, "high": 5e-2, "log": True}
    trial = optuna.create_study().ask()
    assert suggest(trial, "kind", ranges) == "b"
    assert suggest(trial, "num", ranges) in (2, 3, 4)
    assert ranges["num"] == {"low": 2, "high": 4} and RANGES["num"]["low"] == 1


def test_a_plain_value_fixes_a_parameter() -> None:
    assert overridden(RANGES, {"lr": 0.01}, "study")["lr"] == {"choices": (0.01,)}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"lrr": {"low": 1}}, "no parameter `lrr`; the nearest is `lr`"),
        ({"lr": {"hihg": 1}}, "no key `hihg`; the nearest valid key is `high`"),
        ({"lr": [1e-3, 2e-3]}, "must be one value or a mapping"),
        ({"lr": {"low": "small"}}, "must be a number"),
        ({"num": {"low": 1.5}}, "must be a whole number"),
        ({"lr": {"low": 1.0}}, "`low <= high` must hold"),
        ({"lr": {"low": 0.0}}, "`low > 0` must hold"),
        ({"lr": {"step": 1e-4}}, "`step > 0` on a range that is not logarithmic"),
        ({"kind": {"low": 0}}, "override its `choices`"),
        ({"kind": {"choices": []}}, "at least one value"),
    ],
)
def test_an_override_that_does_not_fit_is_refused(override: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        overridden(RANGES, override, "study")


SWEPT = {  # what a study says to have a setting searched that is none by default, as YAML has it
    "hvae": {
        "kl_ramp": {},
        "free_nats": {"high": 0.01},
        "log_var_range": {},
        "clip_norm": {},
        "skip_norm": {"choices": [0.0, 50.0]},
        "weight_decay": {},
        "ema_decay": {},
        "width": {"low": 8, "high": 16, "step": 8},
        "latent_channels": {"choices": [[4, 4, 8], [4, 4, 8, 8]]},
        "batch_size": {"choices": [4, 8]},
    },
    "unet": {"ema_decay": {"low": 0.9, "high": 0.999}, "depth": {"low": 2, "high": 3}},
    "nafnet": {"num_middle": {"low": 1, "high": 3}, "window": {"choices": [3, 5]}},
    "restorer": {
        "latent_noise": {"low": 0.1},
        "lambda_decoder": {"low": 0.01, "high": 10.0, "log": True},
        "ema_decay": {"choices": [0.9, 0.99]},
        "clean_target": {"choices": ["frame", "truth"]},
    },
    "degrader": {
        "latent_noise": {"low": 0.1},
        "shared": {"choices": [True]},
        "cos_target": {"choices": ["input", "cycle"]},
        "anchor": {"choices": ["z_t"]},
        "lambda_pair": {"low": 0.1, "high": 10.0, "log": True},
        "ema_decay": {"low": 0.9, "high": 0.99},
        "beta1": {"low": 0.0, "high": 0.9},
        "pool_size": {"low": 0, "high": 100},
        "discriminator_width": {"choices": [8, 16]},
    },
    "iterative": {"variant": {"choices": ["indi", "bridge"]}, "match": {"choices": ["moments"]}},
}
SWEPT["hdn"] = {**SWEPT["hvae"], "num_samples": {"choices": [2, 4]}, "latent_channels": {"choices": [[4], [4, 8]]}}


@pytest.mark.parametrize("kind", KINDS)
def test_a_study_can_search_any_setting_of_its_stage(kind: str) -> None:
    study = read_studies([kind], "smoke", {kind: {"space": SWEPT[kind], "sampler": "random", "config": {}}})[kind]
    check(study)
    defaults, seen = to_mapping(stage_module(kind).Config()), dict[str, set[str]]()
    searching = optuna.create_study(
        sampler=make_sampler("random", 0, 40), directions=["maximize"] * len(study.objective)
    )
    for _ in range(40):
        trial = searching.ask()
        space_of(study)(trial)
        config = searched_config(study, nested(trial.params))
        for name, value in (config["configurations"][0] if kind == "iterative" else config).items():
            seen.setdefault(name, set()).add(json.dumps(value))
        made = from_mapping(stage_module(kind).Config, config, kind)
        assert kind == "iterative" or set(to_mapping(made)) == set(defaults)
    for name, domain in SWEPT[kind].items():
        assert len(seen[name]) > 1 or len(domain.get("choices", "ab")) == 1, f"{name} was not searched"


def test_what_a_scale_fixes_can_be_searched_there_unless_it_is_searched_by_default() -> None:
    fixed = {"hvae": {"config": {"ema_decay": 0.5, "beta": 0.01}, "space": {"ema_decay": {}}}}
    with pytest.raises(ValueError, match="`beta` is searched, so it cannot be fixed there"):
        check(read_studies(["hvae"], "smoke", fixed)["hvae"])
    del fixed["hvae"]["config"]["beta"]
    study = read_studies(["hvae"], "smoke", fixed)["hvae"]
    found = {pipeline_of(study, "", 0, {}, suggestion)[-1].config["ema_decay"] for suggestion in check(study)}
    assert found == {0.9, 0.99, 0.999}


def test_lists_are_asked_for_as_texts_and_come_back_from_the_journal(tmp_path: Path) -> None:
    space = {"log_var_range": {"choices": [[-6, 2], [-8, 4]]}, "beta": 0.01, "lr": 0.001}
    study = read_studies(["hvae"], "smoke", {"hvae": {"space": space}})["hvae"]
    searching = optuna.create_study(storage=journal.storage(tmp_path), study_name="hvae", directions=["maximize"] * 2)
    space_of(study)(searching.ask())
    (trial,) = optuna.load_study(storage=journal.storage(tmp_path), study_name="hvae").trials
    suggestion = nested(trial.params)
    assert suggestion["log_var_range"] in ([-6, 2], [-8, 4]) and flattened(suggestion) == trial.params
    assert pipeline_of(study, "", 0, {}, suggestion)[-1].config["log_var_range"] == suggestion["log_var_range"]


@pytest.mark.parametrize(
    ("space", "value", "text"),
    [
        ({}, [-8.0, 4.0], None),
        ({}, [-8, 4], None),
        ({"choices": [[-8, 4], [-6, 2]]}, [-8.0, 4.0], "[-8, 4]"),
        ({"choices": [[-8, 4], [-6, 2]]}, "[-8, 4]", "[-8, 4]"),
    ],
)
def test_a_point_says_a_list_as_a_list(space: dict, value: object, text: str | None, tmp_path: Path) -> None:
    settings = {"space": {"log_var_range": space}, "points": [{"log_var_range": value}]}
    study = read_studies(["hvae"], "smoke", {"hvae": settings})["hvae"]
    check(study)
    (asked,) = points_of(study)
    assert asked["log_var_range"] in ranges_of(study)["log_var_range"]["choices"]
    assert text is None or asked["log_var_range"] == text
    opened = journal.open_study(journal.storage(tmp_path), "hvae", study)
    journal.enqueue(opened, study)
    journal.enqueue(opened, study)
    assert len(opened.trials) == 1
    trial = opened.ask()
    space_of(study)(trial)
    wanted = json.loads(value) if isinstance(value, str) else value
    assert trial.number == 0 and nested(trial.params)["log_var_range"] == wanted


@pytest.mark.parametrize(
    ("kind", "space", "point", "lost"),
    [
        ("hvae", {"log_var_range": {}}, {"log_var_range": [-9, 4]}, r"log_var_range: \[-9, 4\]"),
        ("hvae", {}, {"log_var_range": [-8, 4]}, r"log_var_range: \[-8, 4\]"),
        ("hvae", {}, {"lr": [1e-3]}, r"lr: \[0.001\]"),
        ("hvae", {}, {"lr": "fast"}, "lr: fast"),
        ("degrader", {}, {"anchor": "z_0", "shared": False}, "anchor: z_0"),
    ],
)
def test_a_point_that_is_no_choice_is_refused_in_one_sentence(kind: str, space: dict, point: dict, lost: str) -> None:
    study = read_studies([kind], "smoke", {kind: {"space": space, "points": [point]}})[kind]
    with pytest.raises(ValueError, match=rf"^{kind}.yaml: points: every entry must be .*, but {lost} in"):
        check(study)


def test_a_setting_that_is_none_by_default_is_searched_by_its_choices() -> None:
    space = {"compute/channels_last": {"choices": [True, False, None]}}
    study = read_studies(["unet"], "smoke", {"unet": {"space": space}})["unet"]
    found = {suggestion["compute"]["channels_last"] for suggestion in check(study)}
    assert found == {True, False, None}
    settings = {"unet": {"space": {"compute/channels_last": {"low": 0, "high": 1}}}}
    with pytest.raises(ValueError, match="`compute/channels_last` is no number but None, so that it is searched by"):
        check(read_studies(["unet"], "smoke", settings)["unet"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"kl_rmap": {}}, "no parameter `kl_rmap`; the nearest is `kl_ramp`"),
        ({"width": {}}, "`width` has no range that could be changed: give it `low` and `high`, or `choices`"),
        ({"width": {"high": 32}}, "give it `low` and `high`"),
        ({"width": {"low": 8.5, "high": 32}}, "must be a whole number"),
        ({"latent_channels": {"low": 1, "high": 3}}, "searched by its `choices` alone"),
        ({"kl_ramp": {"high": 1.5}}, "`0 <= kl_ramp <= 1` must hold"),
        ({"latent_channels": {"choices": [[4, 4]]}}, "at least 3 groups"),
    ],
)
def test_a_setting_that_cannot_be_searched_like_that_is_refused(override: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(read_studies(["hvae"], "smoke", {"hvae": {"space": override}})["hvae"])


DRAWN = {  # by the random sampler of seed 0 for trial 0, before any other setting could be searched
    "unet": {"share_at_T": 0.1033412231359912, "lr": 0.0005721887087796831, "weight_decay": 3.621621108928155e-05},
    "nafnet": {"share_at_T": 0.1033412231359912, "lr": 0.0005721887087796831, "weight_decay": 3.621621108928155e-05},
    "hdn": {"beta": 0.0019046446877098878, "share_at_T": 0.1033412231359912, "lr": 0.0005721887087796831},
    "hvae": {"beta": 0.00023163883486612328, "lr": 0.0005721887087796831},
    "restorer": {
        "share_at_T": 0.1033412231359912,
        "lambda_decoder": 0.0,
        "lr": 0.0005721887087796831,
        "latent_noise": 0.04079293804222657,
    },
    "degrader": {
        "anchor": "none",
        "shared": False,
        "lambda_cyc": 3.7465336557132236,
        "lambda_cos": 2.094568506262289,
        "cos_target": "paired",
        "lambda_pair": 0.0,
        "lr": 0.00023137319774799031,
        "latent_noise": 0.0,
        "domain": "latents",
    },
    "iterative": {"variant": "refine_R", "match": "moments", "num_refinements": 2, "refine_level": "lowest"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_default_spaces_draw_at_quickstart_what_they_always_drew(kind: str) -> None:
    study = read_studies([kind], "quickstart")[kind]
    check(study)  # its points, too
    trial = optuna.create_study(
        sampler=make_sampler("random", 0, 8), directions=["maximize"] * len(study.objective)
    ).ask()
    space_of(study)(trial)
    assert trial.params == DRAWN[kind]


@pytest.mark.parametrize("scale", ["workstation", "cluster"])
@pytest.mark.parametrize("kind", ["hvae", "hdn"])
def test_the_larger_scales_search_the_ramp_and_the_free_nats_of_a_ladder(kind: str, scale: str) -> None:
    study = read_studies([kind], scale)[kind]
    check(study)
    assert set(ranges_of(study)) == {*DRAWN[kind], "kl_ramp", "free_nats"}


def test_a_space_with_a_setting_that_its_stage_does_not_have_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    space = importlib.import_module("search_spaces.unet")
    monkeypatch.setitem(space.RANGES, "lerning_rate", {"low": 0.0, "high": 1.0})
    with pytest.raises(ValueError, match=r"unknown key `lerning_rate`; the nearest valid key is"):
        check(read_studies(["unet"], "smoke")["unet"])


def test_a_control_that_its_stage_does_not_have_is_refused() -> None:
    settings = {"degrader": {"controls": {"blind": {"ancor": "none"}}}}
    with pytest.raises(ValueError, match=r"controls: `blind`: .*nearest valid key is `anchor`"):
        check(read_studies(["degrader"], "smoke", settings)["degrader"])
    settings = {"iterative": {"controls": {"blind": ["dirct"]}}}
    with pytest.raises(ValueError, match="no variant `dirct`; the nearest is `direct`"):
        check(read_studies(["iterative"], "smoke", settings)["iterative"])


def test_a_numbered_random_sampler_does_not_care_about_order() -> None:
    def suggestions(order: list[int]) -> dict[int, dict]:
        searching = optuna.create_study(sampler=make_sampler("random", 3, 10))
        trials = [searching.ask() for _ in order]
        for number in order:
            for name in ("lr", "num", "kind"):
                suggest(trials[number], name, RANGES)
        return {trial.number: dict(sorted(trial.params.items())) for trial in trials}

    assert suggestions([0, 1, 2, 3]) == suggestions([3, 1, 0, 2])
    assert len({str(params) for params in suggestions([0, 1, 2, 3]).values()}) == 4


def test_a_grid_needs_steps() -> None:
    space = {"share_at_T": {"step": 0.25}, "weight_decay": {"choices": [1e-4]}}
    with pytest.raises(ValueError, match="the sampler grid needs a `step` or `choices` for `lr`"):
        check(read_studies(["unet"], "smoke", {"unet": {"sampler": "grid", "space": space}})["unet"])
    space["lr"] = {"choices": [1e-3, 2e-3]}
    study = read_studies(["unet"], "smoke", {"unet": {"sampler": "grid", "space": space}})["unet"]
    check(study)
    searching = optuna.create_study(sampler=make_sampler("grid", 0, 8))
    for _ in range(8):
        trial = searching.ask()
        space_of(study)(trial)
        searching.tell(trial, 0.0)
    assert len({str(trial.params) for trial in searching.trials}) == 8, "every point once"


@pytest.mark.parametrize(
    ("ranges", "num_objectives", "num_trials", "num_conditional", "expected"),
    [
        ({"a": {"choices": [1, 2]}, "n": {"low": 1, "high": 3}}, 1, 6, 0, "grid"),
        ({"a": {"choices": [1, 2]}, "n": {"low": 1, "high": 3}}, 1, 5, 0, "tpe"),
        ({"lr": {"low": 0.0, "high": 1.0, "step": 0.25}}, 1, 5, 0, "grid"),
        ({"lr": {"low": 1e-4, "high": 1.0, "log": True}, "fixed": {"choices": [3]}}, 1, 20, 0, "gp"),
        ({"lr": {"low": 1e-4, "high": 1.0, "log": True}}, 1, 20, 1, "tpe"),
        ({"lr": {"low": 1e-4, "high": 1.0, "log": True}}, 2, 20, 0, "tpe"),
        ({"lr": {"low": 1e-4, "high": 1.0, "log": True}}, 2, 400, 0, "nsga2"),
    ],
)
def test_the_sampler_that_auto_stands_for_fits_the_space(
    ranges: dict, num_objectives: int, num_trials: int, num_conditional: int, expected: str
) -> None:
    assert sampler_for(ranges, num_objectives, num_trials, num_conditional) == expected
