"""Which trial Tune is to start next: its own scheduler is the reference."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from studies.tuner import Stopping


def test_the_next_trial_is_that_of_tunes_scheduler_and_ended_ones_are_let_go() -> None:
    chance, ours, tunes = random.Random(0), Stopping(None), FIFOScheduler()  # type: ignore[arg-type]
    trials: list[Trial] = []
    controller: Any = SimpleNamespace(get_trials=lambda: trials)
    chosen = set()
    for _ in range(300):
        if chance.random() < 0.4:
            trials.append(Trial("work", stub=True))
            ours.on_trial_add(controller, trials[-1])
        elif trials:
            one = chance.choice(trials)
            after = {Trial.PENDING: [Trial.RUNNING], Trial.RUNNING: [Trial.TERMINATED, Trial.ERROR]}
            one.set_status(chance.choice(after.get(one.status, [one.status])))
        expected = tunes.choose_trial_to_run(controller)
        assert ours.choose_trial_to_run(controller) is expected
        assert ours.unfinished == [trial for trial in trials if not trial.is_finished()]
        chosen.add(expected)
    assert None in chosen and len(chosen) > 10 and len(ours.unfinished) < len(trials)
