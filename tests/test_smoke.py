"""The whole investigation at smoke scale, on real Ray, Optuna and MLflow, as the command that a newcomer types."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
import tifffile
import yaml
from optuna.trial import TrialState
from scipy.ndimage import gaussian_filter

from dehazing.pipeline.store import Store
from studies import journal
from studies.metrics import METRICS
from studies.reading import read_studies, study_names

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[1]


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "studies", *words, "--scale", "smoke"]


def run(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
    return subprocess.run(
        command("run", *words, "--storage", str(root)),
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def trials(root: Path) -> dict[str, list[optuna.trial.FrozenTrial]]:
    storage = journal.storage(root)
    names = optuna.get_all_study_names(storage)
    return {name.split("/")[1]: optuna.load_study(study_name=name, storage=storage).trials for name in names}


def snapshot(root: Path) -> dict[str, int]:
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in files}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    root = tmp_path_factory.mktemp("smoke") / "results"
    done = run(root, "all")
    assert done.returncode == 0, done.stderr
    return root, done


def test_every_study_ends_with_a_chosen_trial(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    found, store = trials(finished[0]), Store(finished[0])
    assert sorted(found) == sorted(study_names())
    for name, made in found.items():
        assert {trial.state for trial in made} == {TrialState.COMPLETE}, name
        for trial in made:
            record = json.loads(store.read(f"{name}/{trial.user_attrs['fingerprint']}", "metrics.json"))
            assert set(METRICS[name]) <= set(record["final"]), name


def test_the_confirmation_covers_every_variant_at_every_step(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    root, _ = finished
    confirmation = json.loads((root / "lines-smoke" / "confirm.json").read_text())
    store = Store(root)
    assert confirmation["seeds"] == [1, 2] and set(confirmation["chosen"]) == set(study_names())
    for instance in (*study_names(), "restorer_pixels", "anchored", "pixels"):
        assert all(store.has(address) for address in confirmation["stages"][instance].values())
    for address in confirmation["iterative"].values():
        table = pd.read_parquet(store.folder(address) / "evaluation.parquet")
        steps = table.groupby("variant")["step"].nunique()
        assert {"direct", "direct_anchored", "direct_pixels", "combine_z_first"} <= set(steps.index)
        assert (steps[["direct", "refine_both", "stop", "unet"]] == confirmation["T"]).all()
    records = json.loads((root / "lines-smoke" / "trials.json").read_text())
    assert len(records) == sum(len(made) for made in trials(root).values())
    assert all(record["mlflow_run_id"] and record["metrics"] for record in records)


def test_what_the_terminal_and_the_report_say(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    root, done = finished
    report = root / "lines-smoke" / "report"
    assert (report / "index.html").is_file() and (report / "gap.csv").is_file()
    assert str(report / "index.html") in done.stdout and "direct" in done.stdout
    assert "Dec(E(x₀)) of the noise-free x₀ lies" in done.stdout
    assert "INFO" not in done.stderr and "Warning" not in done.stderr, done.stderr


def test_mlflow_has_nested_runs_and_none_is_open(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{finished[0] / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("lines-smoke")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    assert Counter(run.info.status for run in runs) == {"FINISHED": len(runs)}
    parents = {run.info.run_id: run.info.run_name for run in runs if "mlflow.parentRunId" not in run.data.tags}
    assert sorted(parents.values()) == sorted([*study_names(), "confirmation", "report"])
    children = Counter(parents[run.data.tags["mlflow.parentRunId"]] for run in runs if run.info.run_id not in parents)
    assert all(children[name] == len(made) for name, made in trials(finished[0]).items())
    (loop,) = [run for run in runs if run.info.run_name == "direct"]
    assert len(client.get_metric_history(loop.info.run_id, "test/psnr")) == 2, "one point per step"
    (artifacts,) = (finished[0] / "mlartifacts").glob(f"**/{loop.info.run_id}/artifacts")
    assert {path.name for path in artifacts.iterdir()} == {"images", "pictures"}
    notes = {run.info.run_name: run.data.tags.get("mlflow.note.content", "") for run in runs}
    assert all("**Question.**" in notes[name] and "(#/compare-runs?" in notes[name] for name in study_names())
    assert "(#/metric?runs=" in notes["confirmation"] and "dB" in notes["report"]
    assert "`unet`: How well" in experiment.tags["mlflow.note.content"]


def test_again_executes_nothing_and_ends_at_once(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    root, _ = finished
    before = snapshot(root)
    begun = time.monotonic()
    again = run(root, "all")
    assert again.returncode == 0 and time.monotonic() - begun < 30
    assert snapshot(root) == before
    assert str(root / "lines-smoke" / "report" / "index.html") in again.stdout


def test_another_range_of_lambda_trains_no_upstream_again(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    root, _ = finished
    before = set(Store(root).addresses())
    done = run(root, "degrader", "--set", "degrader.space.lambda_cyc.high=50")
    assert done.returncode == 0, done.stderr
    assert {address.split("/")[0] for address in set(Store(root).addresses()) - before} == {"degrader"}


def test_a_chosen_result_that_is_gone_is_made_again_by_the_first_that_builds_on_it(
    finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    root = Path(shutil.copytree(finished[0], tmp_path / "results"))
    store = Store(root)
    gone = [address for address in store.addresses() if address.startswith(("hvae/", "restorer/"))]
    for address in gone:
        store.drop(address)
    study = read_studies(["degrader"], "smoke")["degrader"]
    done = run(root, "degrader", "--set", f"degrader.num_trials={study.num_trials + 1}")
    assert done.returncode == 0, done.stderr
    again = [address for address in gone if store.has(address)]
    assert sorted(address.split("/")[0] for address in again) == ["hvae", "restorer"], "the chosen ones, once"


def test_a_control_that_fails_is_left_out_of_the_report(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    root, _ = finished
    done = run(root, "all", "--experiment", "broken", "--set", "degrader.controls.pixels.lr=1e30")
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "pixels (seed 1) failed: FloatingPointError" in done.stderr
    confirmation = json.loads((root / "broken" / "confirm.json").read_text())
    assert "pixels" not in confirmation["stages"] and "`pixels` failed" in " ".join(confirmation["notes"])
    names = {loop["name"] for loop in confirmation["loops"]}
    assert "direct_anchored" in names and "direct_pixels" not in names
    assert "`pixels` failed" in (root / "broken" / "report" / "index.html").read_text()


def test_trials_that_fail_are_recorded_with_their_reason(tmp_path: Path) -> None:
    settings = ["--set", "unet.space.lr.low=1e28", "--set", "unet.space.lr.high=1e30"]
    done = run(tmp_path, "unet", *settings, "--set", "unet.config.num_epochs=20")
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "unet trial 0 failed: FloatingPointError: The loss must stay finite" in done.stderr
    assert [trial.state for trial in trials(tmp_path)["unet"]] == [TrialState.FAIL] * 2
    assert not [address for address in Store(tmp_path).addresses() if address.startswith("unet/")]


def planted_files(folder: Path) -> Path:
    """A real series: three fields of view of odd size at three pinholes, and the YAML that reads it."""
    rng = np.random.default_rng(0)
    for number in range(3):
        clean = np.zeros((100, 90))
        clean[rng.integers(0, 100, 40), rng.integers(0, 90, 40)] = 9000.0
        clean = gaussian_filter(clean, 1.5)
        for sigma, pinhole in ((0.0, 1), (3.0, 5), (8.0, 20)):
            hazy = clean + (gaussian_filter(clean, sigma) if sigma else 0.0) + rng.normal(0, 5, clean.shape) + 200
            tifffile.imwrite(folder / f"fov{number}_{pinhole}.tif", hazy.clip(0, 65535).astype(np.uint16))
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump({"kind": "pinhole_series", "path": "{fov}_{pinhole}.tif", "pinhole_unit": "au"}))
    return path


def test_a_real_series_is_stopped_in_its_confirmation_goes_on_and_is_scored_on_its_frames(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    small = ["scale.num_seeds=1", *(f"{name}.num_trials=1" for name in study_names())]
    words = ["all", "--dataset", str(planted_files(tmp_path / "files"))]
    words += [word for setting in small for word in ("--set", setting)]
    root = tmp_path / "results"
    process = subprocess.Popen(
        command("run", *words, "--storage", str(root)), cwd=CHECKOUT, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if line.startswith("iterative:"):
            break
    assert process.poll() is None, said
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130 and "goes on from here" in rest and "Traceback" not in rest, said + rest
    assert not (root / "own-smoke" / "confirm.json").exists()

    done = run(root, *words)
    assert done.returncode == 0, done.stderr
    confirmation = json.loads((root / "own-smoke" / "confirm.json").read_text())
    assert confirmation["score_against"] == "frame" and not confirmation["regions_of_one_field"]
    assert {loop["name"] for loop in confirmation["loops"]} >= {"direct", "combine_z_first", "direct_pixels"}
    page = (root / "own-smoke" / "report" / "index.html").read_text()
    assert "scored against the acquired clean frame" in page and "there is no noise-free truth" in page
    status = [*command("status", *words), "--storage", str(root)]
    told = subprocess.run(status, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    assert "confirmation 11/11 executions" in told, told


def test_asha_stops_trials_early_and_never_chooses_one_of_them(tmp_path: Path) -> None:
    settings = ["scheduler=asha", "num_trials=8", "config.num_epochs=8", "sampler=random"]
    done = run(tmp_path, "unet", *(word for setting in settings for word in ("--set", f"unet.{setting}")))
    assert done.returncode == 0, done.stderr
    found = trials(tmp_path)["unet"]
    states = Counter(trial.state for trial in found)
    assert states[TrialState.PRUNED] > 0 and states[TrialState.COMPLETE] > 0 and sum(states.values()) == 8, states
    for trial in found:
        stored = Store(tmp_path).has(f"unet/{trial.user_attrs['fingerprint']}")
        assert stored == (trial.state == TrialState.COMPLETE)
    number = int(done.stderr.split("chosen trial ")[1].split(",")[0])
    assert found[number].state == TrialState.COMPLETE


def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(tmp_path: Path) -> None:
    words = ["unet", "--set", "unet.config.num_epochs=300", "--storage", str(tmp_path)]
    process = subprocess.Popen(command("run", *words), cwd=CHECKOUT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("stages/unet/*/LEASE-*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "goes on from here" in said and "Traceback" not in said
    assert list(tmp_path.glob("stages/unet/*/partial/epoch-*")), "a checkpoint was left"
    stopped = trials(tmp_path)["unet"]
    again = run(tmp_path, "unet", "--set", "unet.config.num_epochs=300")
    assert again.returncode == 0, again.stderr
    found = trials(tmp_path)["unet"]
    assert [trial.state for trial in found] == [TrialState.COMPLETE] * 2
    assert [trial.params for trial in found][: len(stopped)] == [trial.params for trial in stopped]
