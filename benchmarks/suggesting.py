"""What a suggestion takes by how many trials there are: the samplers, on the degrader's space, in this process alone.

python -m benchmarks.suggesting [--samplers random,tpe,nsga2] [--trials 100,1000,10000] [--asked 5]
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence

import optuna
from optuna.distributions import BaseDistribution

from search_spaces.degrader import space
from studies.samplers import make_sampler


def main(arguments: Sequence[str] | None = None) -> int:
    """Print CPU milliseconds of one suggestion, by sampler and number of trials that there are."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.suggesting", description=__doc__.split("\n")[0])
    parser.add_argument("--samplers", default="random,tpe,nsga2")
    parser.add_argument("--trials", default="100,1000,10000")
    parser.add_argument("--asked", type=int, default=5, metavar="N", help="suggestions that are timed; default: 5")
    asked = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    numbers = [int(number) for number in asked.trials.split(",")]
    print(f"{'sampler':<10}" + "".join(f"{number:>10}" for number in numbers) + "   trials; CPU ms a suggestion")
    for name in asked.samplers.split(","):
        print(f"{name:<10}" + "".join(f"{cpu_ms(name, number, asked.asked):>10.1f}" for number in numbers), flush=True)
    return 0


def cpu_ms(sampler: str, num_trials: int, num_asked: int) -> float:
    """Of one suggestion after `num_trials` finished trials, the mean of `num_asked`."""
    study = optuna.create_study(direction="maximize", sampler=make_sampler(sampler, 0, num_trials))
    drawing = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = drawing.ask()
    space(drawn)
    ranges: dict[str, BaseDistribution] = dict(drawn.distributions)
    draw = random.Random(0)
    points = optuna.samplers.RandomSampler(seed=0)
    frozen = drawing.trials[0]
    for _ in range(num_trials):
        params = {name: points.sample_independent(drawing, frozen, name, domain) for name, domain in ranges.items()}
        ended = optuna.trial.create_trial(params=params, distributions=ranges, value=draw.uniform(20, 40))
        study.add_trial(ended)
    spent_s = 0.0
    for _ in range(num_asked):
        begun_s = time.process_time()
        trial = study.ask()
        space(trial)
        spent_s += time.process_time() - begun_s
        study.tell(trial, draw.uniform(20, 40))
    return 1000 * spent_s / num_asked


if __name__ == "__main__":
    sys.exit(main())
