"""What each study of an experiment searches, written for whoever reads its trials."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from studies.executions import ranges_of
from studies.study import Study

NUISANCE = "nuisance/"  # before the name of a nuisance parameter in MLflow


def spaces_of(studies: Mapping[str, Study]) -> dict[str, Any]:
    """Study → question, objective [{metric, mode}], ranges (parameter → {low, high, log or step} or {choices}),
    nuisance [names].

    What is searched beside a stage's own space (a width, an averaging) counts as scientific: somebody asked for it.
    """
    return {name: _space(study) for name, study in studies.items()}


def tracked_params(study: Study, params: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's parameters as MLflow is told them: the scientific ones by name, the nuisance ones as nuisance/<name>.

    So what the study asks about stands by itself among the axes of MLflow's parallel coordinates.
    """
    nuisance = _nuisance(study)
    return {f"{NUISANCE}{name}" if name in nuisance else name: value for name, value in params.items()}


def _nuisance(study: Study) -> set[str]:
    """Names of the nuisance parameters of a study's stages, whether it searches them or not."""
    return {
        f"{role}/{name}" if role else name
        for role in (*study.joint, "")
        for name in importlib.import_module(f"search_spaces.{role or study.kind}").NUISANCE
    }


def _space(study: Study) -> dict[str, Any]:
    ranges = {name: dict(domain) for name, domain in ranges_of(study).items()}
    objective = [{"metric": one.metric, "mode": one.mode} for one in study.objective]
    nuisance = [name for name in ranges if name in _nuisance(study)]
    return {"question": study.question, "objective": objective, "ranges": ranges, "nuisance": nuisance}
