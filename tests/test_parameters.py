"""A space's parameters as `plan` shows them: conditions, how many values they have, and the ends of their ranges."""

from __future__ import annotations

import math
from typing import Any

import pytest

from studies.planning.parameters import Parameter, parameters_of
from studies.reading import read_studies


def test_conditions_are_found_by_sampling() -> None:
    parameters = {p.name: p for p in parameters_of(read_studies(["iterative"], "quickstart")["iterative"])}
    assert parameters["variant"].condition == ()
    assert parameters["reference"].condition == ("variant", ("combine_both", "combine_z", "combine_z0"))
    assert parameters["refine_level"].condition == ("variant", ("refine_R", "refine_both"))
    assert parameters["alpha/exponent"].condition == ("alpha/kind", ("power",))
    assert parameters["num_refinements"].record()["kind"] == "whole"


@pytest.mark.parametrize(
    ("domain", "value", "end"),
    [
        ({"low": 0.1, "high": 10.0, "log": True}, 9.9, "high"),
        ({"low": 0.1, "high": 10.0, "log": True}, 0.101, "low"),
        ({"low": 0.1, "high": 10.0, "log": True}, 1.0, ""),
        ({"low": 0.0, "high": 1.0}, 0.5, ""),
        ({"low": 1.0, "high": 1.0}, 1.0, ""),
        ({"choices": (1, 2, 3)}, 1, ""),
    ],
)
def test_the_ends_of_a_range(domain: dict[str, Any], value: float, end: str) -> None:
    kind = "choice" if "choices" in domain else "real"
    assert Parameter("name", kind, domain, ()).at_an_end(value) == end


@pytest.mark.parametrize(
    ("domain", "kind", "num"),
    [
        ({"low": 1, "high": 4}, "whole", 4),
        ({"low": 0.0, "high": 1.0, "step": 0.1}, "real", 11),
        ({"low": 0.0, "high": 1.0}, "real", math.inf),
        ({"choices": ("a", "b")}, "choice", 2),
    ],
)
def test_how_many_values_a_parameter_has(domain: dict[str, Any], kind: str, num: float) -> None:
    assert Parameter("name", kind, domain, ()).num_values == num
