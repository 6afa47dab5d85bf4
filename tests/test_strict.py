"""A mapping is read as it is meant, or refused with one sentence that names the key."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from dehazing.strict import from_mapping, nearest, to_mapping


@dataclass(frozen=True)
class Optics:
    numerical_aperture: float = 1.4
    name: str | None = None


@dataclass(frozen=True)
class Setting:
    seed: int
    optics: Optics = Optics()
    pinholes: tuple[float, ...] = (1.0, 2.0)
    size: tuple[int, int] = (1, 2)
    train: bool = True
    weights: dict[str, float] = field(default_factory=dict)
    kind: Literal["noise", "haze"] = "noise"
    either: int | str = 0
    steps: tuple[Optics, ...] = ()
    free: Any = None

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"`seed >= 0` must hold, but got seed={self.seed}.")


def test_reads_nested_mappings_and_fills_in_defaults():
    setting = from_mapping(
        Setting,
        {
            "seed": 3,
            "optics": {"numerical_aperture": 1, "name": "oil"},
            "pinholes": [1, float("inf")],
            "weights": {"a": 2},
            "either": "x",
            "steps": [{}, {"name": "b"}],
        },
        "f.yaml",
    )
    assert setting.optics == Optics(1.0, "oil")
    assert isinstance(setting.optics.numerical_aperture, float)
    assert setting.pinholes == (1.0, float("inf"))
    assert setting.steps[1].name == "b"
    assert setting.size == (1, 2)


def test_round_trip_through_json_keeps_infinities():
    setting = Setting(seed=1, pinholes=(1.0, float("inf")), steps=(Optics(0.8),), weights={"a": 0.5})
    text = json.dumps(to_mapping(setting), allow_nan=False)
    assert from_mapping(Setting, json.loads(text), "json") == setting


def test_text_that_yaml_did_not_take_for_a_number_is_one():
    assert from_mapping(Optics, {"numerical_aperture": "1e-3"}, "y").numerical_aperture == 1e-3


@pytest.mark.parametrize(
    ("mapping", "sentence"),
    [
        ({"seed": 1, "pinholse": [1]}, "f.yaml: unknown key `pinholse`; the nearest valid key is `pinholes`"),
        ({"seed": 1, "optics": {"numerical_apertur": 1}}, "`optics`: unknown key `numerical_apertur`"),
        ({}, "the key `seed` is required"),
        ({"seed": "one"}, "`seed` must be a whole number, but is 'one'"),
        ({"seed": True}, "`seed` must be a whole number"),
        ({"seed": 1.5}, "`seed` must be a whole number"),
        ({"seed": 1, "train": 1}, "`train` must be true or false"),
        ({"seed": 1, "pinholes": 3}, "`pinholes` must be a list"),
        ({"seed": 1, "pinholes": "12"}, "`pinholes` must be a list"),
        ({"seed": 1, "pinholes": [1, "two"]}, "`pinholes`, entry 2 must be a number"),
        ({"seed": 1, "pinholes": [float("nan")]}, "must be a number"),
        ({"seed": 1, "size": [1, 2, 3]}, "`size` must have 2 entries, but has 3"),
        ({"seed": 1, "weights": [1]}, "`weights` must be a mapping"),
        ({"seed": 1, "weights": {"a": "b"}}, "`weights`, `a` must be a number"),
        ({"seed": 1, "kind": "hase"}, "nearest: haze"),
        ({"seed": 1, "either": 1.5}, "`either` must be a whole number or text"),
        ({"seed": 1, "optics": None}, "`optics` must be a mapping"),
        ({"seed": -1}, "f.yaml: `seed >= 0` must hold"),
        ([1], "f.yaml must be a mapping"),
        (None, "f.yaml must be a mapping"),
    ],
)
def test_one_sentence_for_what_does_not_fit(mapping, sentence):
    with pytest.raises(ValueError) as refusal:
        from_mapping(Setting, mapping, "f.yaml")
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_nearest():
    assert nearest("lamda_cyc", ["lambda_cos", "lambda_cyc"]) == "lambda_cyc"
    assert nearest("anything", []) is None
