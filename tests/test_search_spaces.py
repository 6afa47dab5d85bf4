"""Every space suggests only what its stage has, under every sampler; its ranges can be overridden, never misspelt."""

from __future__ import annotations

import importlib
import pickle

import optuna
import pytest

from dehazing.inference import COMBINATIONS, REFINEMENTS
from dehazing.schedules import PARAMETERS
from dehazing.stages import KINDS, stage_module
from dehazing.strict import from_mapping
from search_spaces import alpha
from search_spaces.ranges import overridden, suggest
from studies.executions import check, nested, searched_config, space_of
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
