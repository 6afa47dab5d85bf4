"""The confirmation in MLflow: every execution, and every trajectory with the step as MLflow's step axis; the report."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.numpy import load_file

from analysis.facts import NOT_ITERATING
from analysis.starts import from_T, with_start, without_start
from analysis.variants import BASELINES, family, is_variant
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store, writing
from studies.executions import flattened
from studies.tracking.database import NAME
from studies.tracking.ledger import folder_of, place
from studies.tracking.notes import confirmation_note, experiment_note, report_note
from studies.tracking.strips import write_pictures
from studies.tracking.tracked import note_tracked
from studies.tracking.tracker import Data, Run, Tracker

MEASURES = (
    *("psnr", "psnr_ri", "ssim", "ms_ssim", "micro_ms3im", "frc_px", "background", "line_f1"),
    *("psnr_structure", "psnr_background"),
    *(f"coherence_{band}" for band in range(4)),
    *("drift", "drift_cosine", "norm_ratio"),
)
REPORT = "report"  # key and name of its run, and the folder of its artifacts
NUM_OVERLAID = 8  # loops that the description's link shows, the best ones; more are chosen by hand


def track_confirmation(
    tracker: Tracker,
    store: Store,
    folder: Path,
    wanted: Mapping[tuple[str, int], Execution],
    loops: Sequence[Mapping[str, Any]],
    texts: Mapping[str, str],
) -> None:
    """A run `confirmation` with a child per execution and per variant, the latter with pictures.

    loops: the settings of the variants. texts: more artifacts, by name. The same confirmation, told again, goes on with
    the same runs.
    """
    top = _key(wanted, loops)
    seeds = ",".join(str(seed) for seed in dict.fromkeys(seed for _, seed in wanted))
    tracker.start(Run(top, "confirmation", tags={"stage": "confirmation", "seed": seeds}, texts=texts))
    tables, pictures = [], None
    for (name, seed), execution in wanted.items():
        key = f"{top}/{name}/{seed}"
        upstreams = {f"upstream.{role}": address for role, address in execution.upstreams.items()}
        tags = {"stage": execution.kind, "fingerprint": execution.fingerprint, "seed": str(seed), **upstreams}
        tracker.start(Run(key, f"{name}, seed {seed}", top, tags, {"instance": name, "seed": seed}, execution.config))
        published = store.folder(execution.address)
        metrics = json.loads((published / "metrics.json").read_text())
        tracker.history(key, metrics["history"], metrics["final"])
        tracker.end(key, "FINISHED")
        if name == "iterative":
            tables.append(pd.read_parquet(published / "evaluation.parquet"))
            pictures = pictures or published / "examples.safetensors"
    table = pd.concat(tables)
    aside = folder_of(folder.parent, folder.name) / "pictures"  # beside the spool, until they are delivered
    _track_trajectories(tracker, top, table, {loop["name"]: loop for loop in loops}, seeds, pictures, aside)
    tracker.describe(top, *confirmation_note(top, *_overlaid(table)))
    tracker.end(top, "FINISHED")
    num_lost = tracker.num_lost
    if tracker.flush() and tracker.num_lost == num_lost:
        shutil.rmtree(aside, ignore_errors=True)
        note_tracked(folder)


def track_report(tracker: Tracker, folder: Path, title: str, scale: str, questions: Mapping[str, str]) -> None:
    """The report of an experiment's folder as artifacts of the run `report`, in the place of an earlier one.

    The experiment's description then has what the report says; questions: study → what it asks.
    """
    page = folder / "report" / "index.html"
    tracker.start(Run(REPORT, "report", tags={"stage": "report"}))
    tracker.artifacts(REPORT, page.parent, REPORT, alone=True)
    tracker.describe(REPORT, *report_note(page))
    tracker.about(REPORT, *experiment_note(title, scale, questions, page))
    tracker.end(REPORT, "FINISHED")


def track_again(root: Path, experiment: str) -> str:
    """The report as the results folder has it now, where MLflow is in use; one sentence on what it misses, or ""."""
    if not place() and not (root / NAME).is_file():
        return ""
    folder = root / experiment
    confirmation = json.loads((folder / "confirm.json").read_bytes())
    spaces = folder / "spaces.json"  # an older experiment has none
    searched = json.loads(spaces.read_bytes()) if spaces.is_file() else {}
    title, scale = confirmation["dataset_title"], confirmation["scale"]
    tags = {"scale": scale, "git_commit": confirmation["git_commit"]}
    tracker = Tracker(root, experiment, tags, Data(title, confirmation["dataset"], title))
    questions = {study: one["question"] for study, one in searched.items() if "question" in one}
    track_report(tracker, folder, title, scale, questions)
    return tracker.close()


def _key(wanted: Mapping[tuple[str, int], Execution], loops: Sequence[Mapping[str, Any]]) -> str:
    """Another one where anything was chosen otherwise: a run's parameters cannot change."""
    what = [[execution.address for execution in wanted.values()], [dict(loop) for loop in loops]]
    return f"confirmation/{hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]}"


def _track_trajectories(
    tracker: Tracker,
    top: str,
    table: pd.DataFrame,
    loops: Mapping[str, Mapping[str, Any]],
    seeds: str,
    pictures: Path | None,
    aside: Path,
) -> None:
    """One run per variant, start and baseline: means over fields and seeds at each step, by the same names, to overlay.

    What predicts in one step has its prediction from level T at every step of the loop, a constant line; those from
    the other levels are `from_level/…`, with the level as the step.
    """
    table = with_start(table)
    measures = [name for name in MEASURES if name in table.columns]
    num_steps = int(table["step"].max()) + 1
    written: list[str] = []
    if pictures is not None and pictures.is_file():
        with writing(aside):
            written = write_pictures(load_file(pictures), aside)
    for variant, rows in table.groupby("variant", sort=False):
        name = str(variant)
        key = f"{top}/variants/{name}"
        params = _params(name, int(rows["start"].max()), loops)
        tags = {"stage": "trajectory", "seed": seeds, **({"mlflow.loggedImages": "True"} if name in written else {})}
        tracker.start(Run(key, name, top, tags, params))
        means = _means(rows, "step", measures)
        if is_variant(name):
            points = {("test", step): numbers for step, numbers in means.items()}
        else:
            points = {("test", step): means[0] for step in range(num_steps)}
            if len(means) > 1 and "level" in rows:
                points |= {("from_level", level): one for level, one in _means(rows, "level", measures).items()}
        for (group, step), numbers in points.items():
            tracker.log(key, {f"{group}/{measure}": value for measure, value in numbers.items()}, step=step)
        if name in written:
            tracker.artifacts(key, aside / name, "")
        tracker.end(key, "FINISHED")


def _params(name: str, start: int, loops: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The settings of a loop and the level that it begins at; one from a lower level has those of the loop from T."""
    if not is_variant(name):
        return {"variant": name}
    settings = {key: value for key, value in loops.get(without_start(name, start), {}).items() if key != "lower_starts"}
    named = {"name": name} if "name" in settings else {}
    return {"variant": name, **flattened({**settings, **named}), "start": start}


def _means(rows: pd.DataFrame, axis: str, measures: Sequence[str]) -> dict[int, dict[str, float]]:
    """Step or level → measure → its mean, where it has one."""
    means = rows.groupby(axis)[list(measures)].mean().to_dict("index")
    return {int(str(at)): {str(k): v for k, v in one.items() if v == v} for at, one in means.items()}


def _overlaid(table: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Names to begin a comparison with: the baselines, and the loops from T that end highest, without the controls."""
    table = from_T(table)
    names = list(dict.fromkeys(map(str, table["variant"])))
    iterating = [name for name in names if is_variant(name) and family(name) not in NOT_ITERATING]
    rows = table[table["variant"].isin(iterating)]
    last = rows[rows["step"] == rows.groupby("variant")["step"].transform("max")]
    ends = last.groupby("variant")["psnr"].mean().sort_values(ascending=False)
    loops = [str(name) for name in ends.index[:NUM_OVERLAID]]
    source = [name for name in ("direct_blind", "direct") if name in names and name not in loops][:1]
    return [name for name in BASELINES if name in names], [*source, *loops]
