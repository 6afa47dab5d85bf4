"""Ray's OptunaSearch, thinned: the Optuna journal is the only ledger, and every ending is told as what it was."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.lease import Owner
from studies.executions import nested
from studies.journal import ENDED
from studies.study import Study


class JournalSearch(OptunaSearch):
    """Suggests the executions of one study until its budget is spent.

    space: define-by-run function. make_execution: nested suggestion → Execution. A trial that the journal holds
    as running and that nobody works on any more is handed out again under its own number with its own parameters;
    its execution goes on from its checkpoint in the store. Missing, NaN or infinite objective: FAIL with the
    reason. Stopped before its end: PRUNED, so never the best. What ended through no fault of its own (a process that
    was lost, a results folder that cannot be written) is told nothing, so that the next run hands it out again.

    lost: numbers of the trials whose process was lost. unwritable: why nothing can be written; "" while all is well.
    """

    def __init__(
        self,
        study: Study,
        optuna_study: optuna.Study,
        space: Callable[[optuna.Trial], None],
        make_execution: Callable[[Mapping[str, Any]], Execution],
        trial_config: Mapping[str, Any],
    ) -> None:
        metrics, modes = [o.metric for o in study.objective], [o.mode for o in study.objective]
        Searcher.__init__(self, metric=metrics, mode=modes)  # type: ignore[arg-type]  # lists are fine there
        self._space: Any = space
        self._ot_study: Any = optuna_study
        self._ot_trials: dict[str, optuna.Trial] = {}
        self._reported: dict[str, set[int]] = {}  # epochs, those before an interruption included
        self._study = study
        self._make_execution = make_execution
        self._trial_config = dict(trial_config)
        self.lost: list[int] = []
        self.unwritable = ""
        self._orphans = [trial for trial in optuna_study.get_trials(deepcopy=False) if is_orphan(trial)]
        self.num_left = study.num_trials - num_taken(optuna_study.get_trials(deepcopy=False))

    def suggest(self, trial_id: str) -> Any:
        """The next trial's configuration; FINISHED once the budget is spent, or where nothing can be written."""
        if self.num_left <= 0 or self.unwritable:
            return Searcher.FINISHED
        self.num_left -= 1
        orphan = self._orphans.pop(0) if self._orphans else None
        self._reported[trial_id] = set() if orphan is None else set(orphan.intermediate_values)
        trial = self._ot_study.ask() if orphan is None else optuna.Trial(self._ot_study, orphan._trial_id)
        self._ot_trials[trial_id] = trial
        trial.set_user_attr("owner", asdict(Owner.myself()))
        params = self._suggest_from_define_by_run_func(self._space, trial)
        execution = self._make_execution(nested(params))
        trial.set_user_attr("fingerprint", execution.fingerprint)
        trial.set_user_attr("execution", json.dumps(asdict(execution)))
        return {
            **self._trial_config,
            "execution": asdict(execution),
            "number": trial.number,
            "params": params,
            "mlflow_run_id": self._ot_study.user_attrs.get(f"mlflow_run_id/{trial.number}"),
        }

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Report an intermediate value where the study has one objective and the epoch has it."""
        value, epoch = result.get(self._study.objective[0].metric), result.get("epoch")
        if len(self._study.objective) > 1 or value is None or not is_finite(value) or epoch is None:
            return
        if epoch not in self._reported[trial_id]:
            self._reported[trial_id].add(epoch)
            self._ot_trials[trial_id].report(float(value), epoch)

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Tell Optuna how the trial ended."""
        trial = self._ot_trials.get(trial_id)
        if trial is None:
            return
        result = result or {}
        if "unwritable" in result:
            self.unwritable = str(result["unwritable"])
            return
        if error and "failed" not in result:
            self.lost.append(trial.number)
            return
        values = [result.get(o.metric) for o in self._study.objective]
        reason = _reason_of_failure(self._study, values, result)
        if reason is not None:
            self._tell(trial, TrialState.FAIL, reason=reason)
        elif not result.get("finished"):
            self._tell(trial, TrialState.PRUNED, reason=f"stopped early at epoch {result.get('epoch')}")
        else:
            for key in ("seconds", "device"):
                trial.set_user_attr(key, result.get(key))
            trial.set_user_attr("metrics", {k: v for k, v in result.items() if "/" in k and is_number(v)})
            self._tell(trial, TrialState.COMPLETE, values=[float(v) for v in values if v is not None])

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal and the store hold all there is, and Tune's own state is thrown away."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("A study goes on from its journal; Tune's restore is not used.")

    def _tell(
        self, trial: optuna.Trial, state: TrialState, values: list[float] | None = None, reason: str | None = None
    ) -> None:
        if reason is not None:
            trial.set_user_attr("reason", reason)
        # another driver that took this one for dead may have told it already, from the same execution
        self._ot_study.tell(trial, values, state=state, skip_if_finished=True)


def is_orphan(trial: FrozenTrial) -> bool:
    """Whether the journal holds the trial as running while nobody works on it."""
    if trial.state != TrialState.RUNNING:
        return False
    owner = trial.user_attrs.get("owner")
    return owner is None or Owner(**owner) == Owner.myself() or Owner(**owner).is_gone()


def num_taken(trials: Sequence[FrozenTrial]) -> int:
    """How much of a budget is spent: trials that ended, and those that another driver works on."""
    return sum(trial.state in ENDED or (trial.state == TrialState.RUNNING and not is_orphan(trial)) for trial in trials)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """Whether the value is a number that an objective may have."""
    return is_number(value) and math.isfinite(value)


def _reason_of_failure(study: Study, values: list[Any], result: Mapping[str, Any]) -> str | None:
    if "failed" in result:
        return str(result["failed"])
    if not result.get("finished"):
        return None
    for objective, value in zip(study.objective, values, strict=True):
        if not is_finite(value):
            return f"the objective {objective.metric} is {'missing' if value is None else value}"
    return None
