"""Searches of one study that go other ways: the directions are part of a search, so they never mix."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from studies import journal
from studies.investigation import Investigation
from studies.study import Study


def cautions_of_directions(investigation: Investigation) -> list[str]:
    """Says which recorded searches of the studies went other ways, and so are not continued.

    ValueError for one that differs in its directions alone: two of these cannot be told apart by their settings.
    """
    names = journal.names(investigation.root)
    return [text for study in investigation.studies.values() for text in _of(investigation, study, names)]


def _of(investigation: Investigation, study: Study, names: list[str]) -> list[str]:
    begun = [name for name in names if name.startswith(f"{investigation.experiment}/{study.name}/")]
    asked, result = tuple(_direction(objective.mode) for objective in study.objective), []
    for name in begun:
        store = investigation.journal
        found = tuple(d.name.lower() for d in store.get_study_directions(store.get_study_id_from_name(name)))
        if found == asked:
            continue
        there = f"a search of {study.name} with {' and '.join(found)} in the experiment {investigation.experiment}"
        if name == _key_with(investigation, study, found):
            raise ValueError(
                f"{study.name}.yaml: `objective` says {' and '.join(asked)}, but there is {there}, alike in all else: "
                "take its `mode`, or another --experiment."
            )
        result.append(f"{study.name}: this is another search: there is {there}, and its trials are not continued")
    return list(dict.fromkeys(result))


def _key_with(investigation: Investigation, study: Study, directions: tuple[str, ...]) -> str | None:
    """The name that the study's search would have with these directions; None while that is not known."""
    is_known = all(other in investigation.addresses for other in study.upstreams.values())
    if not is_known or len(directions) != len(study.objective):
        return None
    modes: list[Any] = ["min" if direction == "minimize" else "max" for direction in directions]
    objective = tuple(replace(o, mode=mode) for o, mode in zip(study.objective, modes, strict=True))
    return investigation.key(replace(study, objective=objective))


def _direction(mode: str) -> str:
    return "minimize" if mode == "min" else "maximize"
