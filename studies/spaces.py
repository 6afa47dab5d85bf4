"""What each study of an experiment searches, written for whoever reads its trials."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from studies.executions import own_ranges
from studies.study import Study


def spaces_of(studies: Mapping[str, Study]) -> dict[str, Any]:
    """Study → objective [{metric, mode}], ranges (parameter → {low, high, log or step} or {choices}), nuisance [names].

    What is searched beside a stage's own space (a width, an averaging) counts as scientific: somebody asked for it.
    """
    return {name: _space(study) for name, study in studies.items()}


def _space(study: Study) -> dict[str, Any]:
    ranges: dict[str, Any] = {}
    nuisance: list[str] = []
    for role, domains in own_ranges(study).items():
        names = {name: f"{role}/{name}" if role else name for name in domains}
        ranges |= {names[name]: dict(domain) for name, domain in domains.items()}
        module = importlib.import_module(f"search_spaces.{role or study.kind}")
        nuisance += [names[name] for name in module.NUISANCE if name in names]
    objective = [{"metric": one.metric, "mode": one.mode} for one in study.objective]
    return {"objective": objective, "ranges": ranges, "nuisance": nuisance}
