"""What a plan leads to: the executions of every trial, simulated with the real space, and those of the confirmation."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from dehazing.pipeline.execution import Execution
from dehazing.stages import KINDS
from studies import journal
from studies.budget import is_whole, num_taken, spent
from studies.conclusion import instances_of, wanted_of
from studies.confirm import Instance, confirmed, domains_of, instances, loop_configurations
from studies.executions import nested, pipeline_of, space_of, with_sampler
from studies.investigation import Investigation
from studies.planning.parameters import Parameter
from studies.samplers import NumberedRandomSampler, make_sampler
from studies.study import Study

MOST_SIMULATED = 2000  # trials of a study
FORESEEABLE = ("random", "grid")  # samplers whose suggestions do not depend on results


@dataclass(frozen=True)
class Expected:
    """What a study's trials need, upstreams that it searches jointly included.

    executions: address → execution of all trials, recorded and to come; with a sampler that learns from results, those
    to come are examples. exact: they are not examples. most: at most so many distinct ones. in_store: addresses that
    are published. over: addresses of trials that failed or were stopped early. settled: the studies that it builds on
    have chosen; otherwise it is planned as if each chose its first trial. targets: the executions of the study's own
    stage, in the order of the trials. suggestions: those of the trials to come. failures: address → why it failed
    before, where it will not be tried again. study: as asked; sampler: the one that its `auto` stands for. more: how
    many times the trials that were simulated are to come, 1 but for a very large budget. spent: seconds of wall time
    and of GPUs so far. certain: those executions that no result can change. refused: why the stage refuses trials to
    come → how many.
    """

    study: Study
    sampler: str
    num_ended: int
    suggestions: Sequence[Mapping[str, Any]]
    executions: Mapping[str, Execution]
    targets: Sequence[Execution]
    exact: bool
    most: int
    in_store: frozenset[str]
    over: frozenset[str]
    failures: Mapping[str, str]
    settled: bool
    more: float
    spent: tuple[float, float]
    certain: frozenset[str]
    refused: Mapping[str, int]

    @property
    def to_do(self) -> list[Execution]:
        """What has to be executed, upstreams first."""
        return [e for address, e in self.executions.items() if address not in self.in_store | self.over]

    @property
    def keys(self) -> set[tuple[Any, ...]]:
        """What is certain, so that what two studies share can be told.

        Before the studies that it builds on have chosen, an address holds for those that build on the same ones.
        """
        builds_on = () if self.settled else tuple(sorted(self.study.upstreams.items()))
        return {(address, builds_on) for address in self.certain}

    @property
    def num_to_do(self) -> int:
        """At most so many executions are left."""
        return max(0, self.most - len(self.in_store) - len(self.over))


def expected(
    investigation: Investigation,
    recorded: Mapping[str, Sequence[FrozenTrial] | None],
    parameters: Mapping[str, Sequence[Parameter]],
) -> dict[str, Expected]:
    """Study → what it will ask for; recorded: study → its trials, None where it waits for another study's choice."""
    result: dict[str, Expected] = {}
    for name, study in investigation.studies.items():
        upstreams = {
            role: investigation.addresses.get(other) or result[other].targets[0].address
            for role, other in study.upstreams.items()
        }
        below = study.upstreams.get("degrader", "")
        waits = bool(below) and below not in investigation.addresses
        domain = result[below].targets[0].config.get("domain", "latents") if waits else investigation.domain(study)
        result[name] = _expected(investigation, study, recorded[name], upstreams, domain, parameters[name])
    return result


def shared_with_earlier(studies: Mapping[str, Expected]) -> dict[str, frozenset[str]]:
    """Study → addresses that are certain to be asked for by a study before it too, and so are made but once."""
    result, before = {}, set[tuple[Any, ...]]()
    for name, one in studies.items():
        result[name] = frozenset(address for address, _ in one.keys & before)
        before |= one.keys
    return result


def _expected(
    investigation: Investigation,
    study: Study,
    recorded: Sequence[FrozenTrial] | None,
    upstreams: Mapping[str, str],
    domain: str,
    parameters: Sequence[Parameter],
) -> Expected:
    store, seed = investigation.store, investigation.scale.search_seed
    sampler = with_sampler(study).sampler
    trials = list(recorded or [])
    found: dict[str, Execution] = {}
    targets, asked, begun = [], set[str](), set[str]()
    suggestions = []
    opened = investigation.open(study) if trials else None
    missing = investigation.missing_below(study) if recorded is not None else []
    refused: dict[str, int] = {}
    simulated, num_beyond = _simulated(study, sampler, seed, trials, opened)
    for number, params in enumerate(simulated):
        suggestion = nested(params)
        try:
            pipeline = [*missing, *pipeline_of(study, investigation.series, seed, upstreams, suggestion, domain)]
        except ValueError as error:  # then the trial fails, and the study goes on
            if number >= len(trials):
                refused[str(error)] = refused.get(str(error), 0) + 1
            continue
        found |= {execution.address: execution for execution in pipeline}
        targets.append(pipeline[-1])
        if number < len(trials):
            begun |= {execution.address for execution in pipeline}
        if number >= len(trials) or trials[number].state not in journal.ENDED:
            suggestions.append(suggestion)
            asked |= {execution.address for execution in pipeline}
    ended = [trial for trial in trials if trial.state in journal.ENDED]
    if refused and not targets:
        raise ValueError(f"{study.name}: its stage must accept a trial, but refuses them all: {next(iter(refused))}")
    num_ended = len(simulated) - len(suggestions) - sum(refused.values())
    most = _most(study, simulated, num_ended, len(simulated) + num_beyond, parameters)
    foreseen = sampler in FORESEEABLE or not suggestions
    exact = foreseen and (not num_beyond or most == len(found))
    settled = recorded is not None
    in_store = frozenset(address for address in found if store.has(address)) if settled else frozenset()
    reasons = {address: store.failure(address) for address in asked - in_store} if settled else {}
    failures = {address: reason for address, reason in reasons.items() if reason is not None}
    return Expected(
        study=study,
        sampler=sampler,
        num_ended=len(ended),
        suggestions=suggestions,
        executions=found,
        targets=targets,
        exact=exact,
        most=len(found) if exact else most,
        in_store=in_store,
        over=(frozenset(found) - asked - in_store) | frozenset(failures),
        failures=failures,
        settled=settled,
        more=1.0 if exact or not num_beyond else 1.0 + num_beyond / len(suggestions),
        spent=spent(opened) if opened else (0.0, 0.0),
        certain=frozenset(found if foreseen else begun),
        refused=refused,
    )


def _simulated(
    study: Study, name: str, seed: int, trials: Sequence[FrozenTrial], recorded: optuna.Study | None
) -> tuple[list[dict[str, Any]], int]:
    """The parameters of every trial of the budget: as recorded, then as the sampler (or chance) would suggest them.

    Of a very large budget the first MOST_SIMULATED; and the number of those beyond.
    """
    sampler = make_sampler(name, seed, study.num_trials) if name in FORESEEABLE else NumberedRandomSampler(seed)
    directions: list[Any] = ["minimize" if o.mode == "min" else "maximize" for o in study.objective]
    memory = optuna.create_study(sampler=sampler, directions=directions)
    memory.add_trials(trials)
    for name, value in (recorded.user_attrs if recorded else {}).items():
        memory.set_user_attr(name, value)  # what was queued, tried again and spent
    journal.enqueue(memory, study)
    num_left = 0 if is_whole(study, memory) else study.num_trials - num_taken(memory)
    space = space_of(study)
    for trial in memory.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        space(optuna.Trial(memory, trial._trial_id))  # killed between its suggestions: the rest is suggested again
    for _ in range(min(num_left, MOST_SIMULATED)):
        space(memory.ask())
    begun = memory.get_trials(deepcopy=False)
    asked = [trial.params for trial in begun if trial.state != TrialState.WAITING]
    return asked, max(0, num_left - MOST_SIMULATED)


def _most(
    study: Study,
    simulated: Sequence[Mapping[str, Any]],
    num_ended: int,
    num_trials: int,
    parameters: Sequence[Parameter],
) -> int:
    """At most so many distinct executions: as many as trials, or as the choices of a jointly searched stage allow."""
    total, combinations = 0, 1.0
    for role in (*(kind for kind in KINDS if kind in study.joint), ""):
        own = [
            p for p in parameters if (p.name.split("/")[0] == role if role else p.name.split("/")[0] not in study.joint)
        ]
        combinations *= math.prod(parameter.num_values for parameter in own)
        seen = {json.dumps(_of(role, study, params), sort_keys=True) for params in simulated[:num_ended]}
        total += int(min(num_trials, max(len(seen), combinations)))
    return total


def _of(role: str, study: Study, params: Mapping[str, Any]) -> Any:
    """What a suggestion says of a jointly searched stage; of the study's own for ""."""
    suggestion = nested(params)
    return suggestion.get(role, {}) if role else {k: v for k, v in suggestion.items() if k not in study.joint}


def confirmation(
    investigation: Investigation, studies: Mapping[str, Expected]
) -> tuple[dict[tuple[str, int], Execution], bool]:
    """(instance, seed) → execution, and whether they are known: every study has chosen.

    Where one has not, it is planned as if it chose its first trial, and the loop had its defaults.
    """
    known = all(name in investigation.addresses for name in confirmed(investigation.studies))
    plan = instances_of(investigation) if known else _instances(investigation, studies)
    return wanted_of(investigation, plan), known


def _instances(investigation: Investigation, studies: Mapping[str, Expected]) -> list[Instance]:
    studies = {name: studies[name] for name in confirmed(investigation.studies)}
    chosen = {
        name: investigation.chosen_execution(one.study) if name in investigation.addresses else one.targets[0]
        for name, one in studies.items()
    }
    configs: dict[str, Mapping[str, Any]] = {name: execution.config for name, execution in chosen.items()}
    domains = domains_of({name: one.study for name, one in studies.items()}, configs)
    loops = {
        name: loop_configurations(one.study, {}, domains)
        for name, one in studies.items()
        if one.study.kind == "iterative"
    }
    configs |= {name: dict(investigation.studies[name].config) for name in loops}
    return instances(investigation.studies, configs, loops)
