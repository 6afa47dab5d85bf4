"""What `rerun` is told to repeat: the record names it, or one sentence says why not."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import open_store
from studies import journal
from studies.reading import read_studies
from studies.recorded import find

UNET = Execution("unet", {}, "d1", 0)


@pytest.fixture
def stopped(tmp_path: Path) -> optuna.Study:
    """A search of `unet` with one trial that was stopped after an epoch."""
    attributes = {"fingerprint": UNET.fingerprint, "executions": json.dumps([asdict(UNET)])}
    found = optuna.create_study(storage=journal.storage(tmp_path), study_name="e/unet/1", direction="maximize")
    trial = create_trial(state=TrialState.PRUNED, value=2.0, user_attrs=attributes, intermediate_values={1: 2.0})
    found.add_trial(trial)
    return found


def test_the_record_of_a_trial_that_was_stopped_names_its_objective(tmp_path: Path, stopped: optuna.Study) -> None:
    study = read_studies(["unet"], "quickstart")["unet"]
    with pytest.raises(ValueError, match="The record of unet/0 must name the objective of its epochs"):
        find("unet/0", tmp_path, open_store(tmp_path))
    journal.enqueue(stopped, study)
    recorded = find("unet/0", tmp_path, open_store(tmp_path))
    assert (recorded.objective, recorded.reported) == (study.objective[0].metric, {1: 2.0})


@pytest.mark.parametrize(
    "word", ["x/..", "../x/abc", "a/b/3", "/3", "unet/", "unet", "unet/²", "unet/ABCDEF0123456789"]
)
def test_what_names_no_trial_is_refused(word: str, tmp_path: Path, stopped: optuna.Study) -> None:
    with pytest.raises(ValueError, match="A trial is named STUDY/NUMBER, such as degrader/3, or kind/fingerprint"):
        find(word, tmp_path, open_store(tmp_path))


def test_another_store_is_named_without_its_secrets(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/objects?")
    with pytest.raises(ValueError, match=f"in file://{tmp_path}/objects; it holds none") as raised:
        find("unet/0123456789abcdef", tmp_path, store)
    assert "?" not in str(raised.value)
