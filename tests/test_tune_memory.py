"""What Tune keeps of a trial that has ended: next to nothing."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ray.tune.experiment import Trial

from studies.tuner import Pulse, Stopping

pytestmark = pytest.mark.slow  # it imports Ray


def test_a_trial_that_has_ended_keeps_no_results_and_no_configuration() -> None:
    config = {f"setting_{number}": float(number) for number in range(40)}
    trial = Trial("stub", stub=True, config=config, evaluated_params=dict(config), _setup_default_resource=False)
    Stopping(cast(Any, SimpleNamespace())).on_trial_add(None, trial)
    for epoch in range(20):
        trial.update_last_result({"training_iteration": epoch, "config": config, **dict.fromkeys("abcdefghijkl", 1.0)})
    assert not trial.run_metadata.metric_analysis, "statistics that nobody reads cost 3 KiB for each number"
    under_way = held(trial)
    Pulse(cast(Any, SimpleNamespace()), cast(Any, SimpleNamespace())).on_trial_complete(1, [trial], trial)
    assert held(trial) < 100 < under_way / 10
    assert trial.last_result["done"], "an empty result Tune would ask the actor for"


def held(trial: Trial) -> int:
    """Bytes, pickled, of what Tune knows about a trial's settings and results."""
    known = trial.run_metadata
    kept = known.metric_analysis, known.metric_n_steps, known.last_result, trial.config, trial.evaluated_params
    return len(pickle.dumps(kept))
