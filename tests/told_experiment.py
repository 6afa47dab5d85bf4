"""MLflow is told of the planted experiment: a study with its trials, the confirmation, the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
from planted_experiment import EXPERIMENT

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store
from search_spaces import degrader
from studies.follower import Follower
from studies.overhead import Overhead
from studies.progress import Progress
from studies.study import Objective, Study
from studies.tracking.records import track_confirmation, track_report
from studies.tracking.tracker import Data, Tracker

STUDY = Study("degrader", "Which degrader?", "degrader", (Objective("val/psnr_direct", "max"),), num_trials=9)
SEARCH = f"{EXPERIMENT}/degrader/ab"
UPSTREAMS = {role: f"{role}/made" for role in ("degrader", "hdn", "hvae", "nafnet", "restorer", "unet")}
LOOPS = [{"name": "combine_z_first", "variant": "combine_z", "alpha": {"kind": "power", "exponent": 2.0}}]
DATA = Data("planted", "abc", "planted.yaml")


def searched(num: int = 8) -> optuna.Study:
    """Trials whose objective is known from lambda_cyc, and one that was stopped."""
    study = optuna.create_study(study_name=SEARCH, direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    for number in range(num + 1):
        trial = study.ask()
        degrader.space(trial)
        state = optuna.trial.TrialState.PRUNED if number == num else None
        study.tell(trial, None if state else objective(trial.params), state=state)
    return study


def objective(params: dict[str, Any]) -> float:
    return 25.0 + params["lambda_cyc"] / 30


def tracking(root: Path) -> Tracker:
    return Tracker(root, EXPERIMENT, {"git_commit": "c0ffee"}, DATA, is_apart=False)


def tell_search(tracker: Tracker, study: optuna.Study) -> None:
    follower = Follower(STUDY, study, tracker, Progress(), Overhead())
    for trial in study.trials:
        follower.begun(trial.number, trial.params, None)
        final = {"val/psnr_direct": trial.value, "val/one_step_error": 0.3, "process/memory_mib": 100.0}
        epochs = [{"epoch": epoch, "train/loss": 1 / epoch} for epoch in (1, 2, 3)]
        follower.ended(trial, None, {"history": epochs, "final": final} if trial.value else None)
    follower.end()


def confirmed(root: Path, planted: dict[str, str]) -> dict[tuple[str, int], Execution]:
    """The planted evaluations (seed → address) under the addresses that executions have."""
    store, wanted = Store(root), {}
    for seed, address in planted.items():
        loop = Execution("iterative", {}, "d1", int(seed), UPSTREAMS)
        files = (path for path in store.folder(address).iterdir() if path.suffix in (".parquet", ".safetensors"))
        metrics = json.dumps({"history": [], "final": {"val/gap_db": -1.5}}).encode()
        store.publish(loop.address, {path.name: path.read_bytes() for path in files} | {"metrics.json": metrics})
        wanted["iterative", int(seed)] = loop
    return wanted


def tell_confirmation(tracker: Tracker, root: Path, planted: dict[str, str]) -> None:
    folder = root / EXPERIMENT
    track_report(tracker, folder, "planted", "quickstart", {"degrader": "Which degrader?"})
    track_confirmation(tracker, Store(root), folder, confirmed(root, planted), LOOPS, {})
