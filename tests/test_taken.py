"""How many trials of a study count: the same whether they are counted once or again and again."""

from __future__ import annotations

import optuna
from optuna.trial import TrialState

from studies.budget import Taken, num_taken
from studies.journal import RETRY_OF


def test_counting_on_gives_what_counting_anew_gives() -> None:
    study, taken = optuna.create_study(), Taken()

    def both(expected: int) -> None:
        assert taken.of(study) == num_taken(study) == expected

    both(0)
    study.enqueue_trial({})
    study.enqueue_trial({})
    both(0)
    first = study.ask()
    both(1)
    study.tell(first, state=TrialState.FAIL)
    study.enqueue_trial({}, user_attrs={RETRY_OF: first.number})
    both(0)  # its place is free
    second, again = study.ask(), study.ask()
    both(2)
    study.tell(second, 1.0)
    study.tell(again, 1.0)
    study.ask()
    both(3)


def test_trials_behind_one_that_still_waits_count() -> None:
    study, taken = optuna.create_study(), Taken()
    study.add_trial(optuna.trial.create_trial(state=TrialState.WAITING))
    study.add_trial(optuna.trial.create_trial(value=1.0))
    assert taken.of(study) == num_taken(study) == 1
    study.ask()
    assert taken.of(study) == num_taken(study) == 2
