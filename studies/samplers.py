"""Optuna samplers by name."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, BruteForceSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

FEW = 6  # parameters that a Gaussian process is at home with
MANY = 300  # trials from which on NSGA-II is worth it


class NumberedRandomSampler(BaseSampler):
    """Random search whose suggestion depends on the trial's number and the seed alone, not on the order of asking."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        text = f"{self.seed} {trial.number} {param_name}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
        return RandomSampler(seed).sample_independent(study, trial, param_name, param_distribution)


class Grid(BruteForceSampler):
    """Every point once; whoever asks counts, as an end that the sampler declares serves `optimize` alone."""

    def after_trial(self, *ended: Any) -> None:
        """Nothing."""


def sampler_for(ranges: Mapping[str, Any], num_objectives: int, num_trials: int, num_conditional: int) -> str:
    """The sampler that `auto` stands for.

    All points of a space of choices that the budget covers: grid. Few numbers, none under a condition, one objective:
    a Gaussian process. Several objectives and a large budget: NSGA-II. All else: TPE. num_conditional: parameters that
    exist only with some values of others.
    """
    sizes = [len(_points(domain)) for domain in ranges.values()]
    if all(sizes) and not num_conditional and math.prod(sizes) <= num_trials:
        return "grid"
    varied = [domain for domain in ranges.values() if len(_points(domain)) != 1]
    if num_objectives > 1:
        return "nsga2" if num_trials > MANY else "tpe"
    if not num_conditional and 1 <= len(varied) <= FEW and all("choices" not in domain for domain in varied):
        return "gp"
    return "tpe"


def _points(domain: Mapping[str, Any]) -> Sequence[Any]:
    """The values of a range that can be counted; none of one that cannot."""
    if "choices" in domain:
        return domain["choices"]
    if isinstance(domain["low"], int):
        return range(domain["low"], domain["high"] + 1, domain.get("step", 1))
    if "step" in domain:
        return range(int((domain["high"] - domain["low"]) / domain["step"] + 1e-9) + 1)
    return ()


class Reseeded(BaseSampler):
    """Another sampler whose random numbers depend on the trial's number: it draws nothing twice after a restart."""

    def __init__(self, name: str, seed: int, startup: int) -> None:
        self.name, self.seed, self.startup = name, seed, startup
        self.inner = _made(name, seed, startup)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        text = f"{self.seed} {trial.number}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
        self.inner = _made(self.name, seed, self.startup)
        self.inner.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self.inner.after_trial(study, trial, state, values)


def make_sampler(name: str, seed: int, num_trials: int) -> BaseSampler:
    """tpe | random | grid | gp | nsga2; a model is fitted after a quarter of the trials, ten at most.

    What a trial is given depends on the seed, its number and the trials that the journal holds by then.
    """
    startup = max(2, min(10, num_trials // 4))
    if name in ("random", "grid"):  # one by its number, the other by what is left
        return _made(name, seed, startup)
    return Reseeded(name, seed, startup)


def _made(name: str, seed: int, startup: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return _of_optuna(name, seed, startup)


def _of_optuna(name: str, seed: int, startup: int) -> BaseSampler:
    if name == "random":
        return NumberedRandomSampler(seed)
    if name == "grid":
        return Grid(seed=seed)
    if name == "gp":
        return GPSampler(seed=seed, n_startup_trials=startup)
    if name == "nsga2":
        return NSGAIISampler(seed=seed)
    assert name == "tpe", name
    # without `group`, parameters that exist only under a condition are sampled independently
    return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=startup)
