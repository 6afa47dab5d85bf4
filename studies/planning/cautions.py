"""What a plan warns about: nothing that would fail, but what would cost more or say less than hoped for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from optuna.trial import FrozenTrial

from studies import journal, revision
from studies.budget import HOUR_S
from studies.investigation import Investigation
from studies.placement import Measured
from studies.planning.expected import Expected
from studies.planning.forecast import Work
from studies.planning.parameters import Parameter
from studies.resources import GB, Resources
from studies.samplers import make_sampler
from studies.scale import read_scale
from studies.study import Study

ENOUGH_SEEDS = 3  # fewer leave every verdict undecided


def cautions_of_studies(
    studies: Mapping[str, Expected],
    recorded: Mapping[str, Sequence[FrozenTrial] | None],
    parameters: Mapping[str, Sequence[Parameter]],
    seed: int,
) -> list[str]:
    """Budgets that are too small for the sampler, and ranges at whose end the best trial lies."""
    result = []
    for name, one in studies.items():
        if one.suggestions:
            result += [f"{name}: {text}" for text in _of_budget(one.study, one.sampler, parameters[name], seed)]
        result += [f"{name}: {text}" for text in _of_ranges(one.study, recorded[name] or (), parameters[name])]
    return result


def cautions_of_work(studies: Mapping[str, Expected], work: Mapping[str, Work], load: float) -> list[str]:
    """Time limits that end a search before its trials do, executions that failed before, and a busy machine.

    load: processes that waited for a CPU when the timing began; 0 where nothing was timed.
    """
    result = []
    num_cpus = os.cpu_count() or 1
    if load > num_cpus:
        result.append(f"this machine is busy (a load of {load:.2g} on {num_cpus} CPUs), so what was timed is high")
    for name, one in studies.items():
        needed_s = dict(zip(("max_hours", "max_gpu_hours"), work[name].without_limit_s, strict=True))
        for (key, needed), spent in zip(needed_s.items(), one.spent, strict=True):
            limit = getattr(one.study, key)
            if limit is not None and needed and spent + needed > limit * HOUR_S:
                already = f", of which {spent / HOUR_S:.2g} are spent," if spent else ""
                result.append(
                    f"{name}: `{key}` = {limit:g}{already} ends it before its trials do, which take about "
                    f"{needed / HOUR_S:.2g}"
                )
        for reason, num in one.refused.items():
            result.append(
                f"{name}: {num} trial{'s' if num > 1 else ''} to come will fail, as the stage refuses: {reason}"
            )
        if one.failures:
            reason = next(iter(one.failures.values()))
            plural = "s" if len(one.failures) > 1 else ""
            result.append(
                f"{name}: {len(one.failures)} execution{plural} failed before, and will not be tried: {reason}"
            )
    return result


def cautions_of_memory(resources: Mapping[str, Resources], held: Mapping[str, Measured]) -> list[str]:
    """Stages for which less memory is set aside than past executions held."""
    return [
        f"{kind}: past executions held up to {of.memory / GB:.3g} GB, but `memory_gb` sets only "
        f"{resources[kind].memory_gb:g} aside"
        for kind, of in held.items()
        if 0 < resources[kind].memory_gb * GB < of.memory
    ]


def cautions_of_investigation(investigation: Investigation, with_confirmation: bool) -> list[str]:
    """Too few seeds, no GPU, and code that no commit holds."""
    scale, result = investigation.scale, []
    if with_confirmation and scale.num_seeds < ENOUGH_SEEDS:
        result.append(
            f"with {scale.num_seeds} seed{'s' if scale.num_seeds > 1 else ''} every verdict is `undecided`: "
            f"it takes {ENOUGH_SEEDS} or more, --set scale.num_seeds={ENOUGH_SEEDS}"
        )
    if not scale.num_gpus and torch.cuda.is_available():
        result.append("this machine has a GPU, but the trials use none: --set scale.num_gpus=1 (or a share of it)")
    elif not scale.num_gpus and read_scale(investigation.scale_name).num_gpus:
        result.append(f"no GPU: the scale {investigation.scale_name} is made for one, and will take very long")
    if investigation.git_commit.endswith(revision.DIRTY):
        result.append("the working tree has changes that are not committed, so no commit tells what ran")
    elif investigation.git_commit == revision.UNKNOWN:
        result.append("the code is in no git repository, so no commit tells what ran")
    return result


def _of_budget(study: Study, sampler: str, parameters: Sequence[Parameter], seed: int) -> Iterator[str]:
    if study.num_trials < len(study.points):
        yield f"{study.num_trials} trials do not get to all of its {len(study.points)} seed points"
    num_random = _num_random(sampler, seed, study.num_trials)
    if num_random and study.num_trials <= num_random and len(study.points) < study.num_trials:
        yield (
            f"the sampler {sampler} learns from results after {num_random} trials, but the budget is "
            f"{study.num_trials}: all but the seed points are drawn at random"
        )
    if sampler == "gp" and any(parameter.condition != () for parameter in parameters):
        yield "the sampler gp draws parameters that are not always there at random; tpe learns them"
    if sampler == "grid":
        num = 1.0
        for parameter in parameters:
            num *= parameter.num_values
        if study.num_trials < num and all(parameter.condition == () for parameter in parameters):
            yield f"{study.num_trials} trials cover a part of the grid's {num:g} points"


def _num_random(name: str, seed: int, num_trials: int) -> int:
    """Trials before the sampler learns anything; 0 where it never does."""
    sampler: Any = make_sampler(name, seed, num_trials)
    return int(getattr(sampler, "_n_startup_trials", 0) or getattr(sampler, "_population_size", 0))


def _of_ranges(study: Study, trials: Sequence[FrozenTrial], parameters: Sequence[Parameter]) -> Iterator[str]:
    best = journal.chosen(study, trials)
    if best is None:
        return
    for parameter in parameters:
        end = parameter.at_an_end(best.params[parameter.name]) if parameter.name in best.params else ""
        if end:
            yield (
                f"the best recorded trial ({best.number}) has `{parameter.name}` = {best.params[parameter.name]:.3g}, "
                f"at the {end} end of its range: the optimum may lie beyond {parameter.domain[end]:g}"
            )
