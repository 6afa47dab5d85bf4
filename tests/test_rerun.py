"""`rerun`: one trial again from its record equals the record; a record that was changed does not."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
import pytest
import tiny_series
import torch
from optuna.trial import TrialState
from safetensors.torch import load, save

from dehazing.pipeline.execute import execute
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store
from studies import journal
from studies.__main__ import main

pytestmark = pytest.mark.slow

BRIEF = {"num_epochs": 2, "steps_per_epoch": 2, "batch_size": 2, "patch_px": 32}
HVAE = Execution("hvae", {**BRIEF, "width": 8, "latent_channels": [2, 2, 2]}, tiny_series.NAME, 3)
RESTORER = Execution("restorer", {**BRIEF, "width": 8}, tiny_series.NAME, 3, {"hvae": HVAE.address})
SEARCH = "tiny/restorer/0123456789abcdef"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = tiny_series.publish(tmp_path_factory.mktemp("made"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for execution in (HVAE, RESTORER):
        execute(execution, store)
    torch.set_num_threads(threads)
    return store


@pytest.fixture
def store(made: Store, tmp_path: Path) -> Store:
    return Store(shutil.copytree(made.root, tmp_path / "results"))


def record(root: Path, execution: Execution, state: TrialState, **changes: Any) -> None:
    """A trial in the journal, as a search leaves it."""
    storage = journal.storage(root)
    found = optuna.create_study(storage=storage, study_name=SEARCH, direction="maximize", load_if_exists=True)
    found.set_user_attr(journal.OBJECTIVE, ["val/psnr"])
    attributes = {"fingerprint": execution.fingerprint, "executions": json.dumps([asdict(execution)])}
    attributes |= changes.pop("attributes", {})
    found.add_trial(optuna.trial.create_trial(state=state, user_attrs=attributes, **changes))


def files_of(root: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def rerun(capsys: pytest.CaptureFixture[str], store: Store, trial: str, *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["rerun", trial, "--storage", str(store.root), *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_trial_gives_the_same_numbers_again_and_the_store_stays_as_it_was(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    record(Path(store.root), RESTORER, TrialState.COMPLETE, value=1.0)
    before = files_of(Path(store.root))
    code, out, err = rerun(capsys, store, "restorer/0")
    assert code == 0, out + err
    assert "restorer/0 gives the same numbers again, to the bit." in out
    assert "val/psnr, 2 epochs" in out and "weights.safetensors" in out
    assert files_of(Path(store.root)) == before


def test_an_upstream_is_repeated_by_its_address(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = rerun(capsys, store, HVAE.address)
    assert code == 0, out + err


@pytest.mark.parametrize("name", ["metrics.json", "weights.safetensors"])
def test_a_record_that_was_changed_is_different(
    name: str, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = tiny_series.publish(tmp_path / "changed")
    for execution in (HVAE, RESTORER):
        folder = store.folder(execution.address)
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        del files["manifest.json"]
        if execution is RESTORER:
            files[name] = _tampered(name, files[name])
        changed.publish(execution.address, dict(files))
    code, out, err = rerun(capsys, changed, RESTORER.address)
    assert code == 1, out + err
    assert "is different: the largest difference is 0.5, in " in out


def _tampered(name: str, content: bytes) -> bytes:
    if name == "metrics.json":
        metrics = json.loads(content)
        metrics["final"]["val/psnr"] += 0.5
        return json.dumps(metrics).encode()
    tensors = load(content)
    next(tensor for tensor in tensors.values() if tensor.is_floating_point()).view(-1)[0] += 0.5
    return save(tensors)


def fails(execution: Execution, changes: dict[str, Any]) -> Execution:
    return Execution(execution.kind, {**execution.config, **changes}, execution.dataset, execution.seed)


def test_a_failed_trial_fails_again_for_its_reason_or_for_another(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = fails(HVAE, {"lr": 1e30})
    with pytest.raises(FloatingPointError) as raised:
        execute(bad, store)
    reason = f"FloatingPointError: {raised.value}"
    for told in (reason, "ValueError: another"):
        record(Path(store.root), bad, TrialState.FAIL, attributes={"reason": told})
    code, out, _ = rerun(capsys, store, "restorer/0")
    assert code == 0 and f"recorded: {reason}" in out and "fails again, for the same reason" in out
    code, out, _ = rerun(capsys, store, "restorer/1")
    assert code == 1 and "fails again, but for another reason" in out
    record(Path(store.root), fails(HVAE, {"lr": 1e-4}), TrialState.FAIL, attributes={"reason": reason})
    code, out, _ = rerun(capsys, store, "restorer/2")
    assert code == 1 and "came to its end this time" in out


def test_a_trial_that_was_stopped_early_repeats_its_epochs(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = json.loads(store.read(RESTORER.address, "metrics.json"))
    value = metrics["history"][0]["val/psnr"]
    longer = Execution("restorer", {**RESTORER.config, "lr": 1e-3}, tiny_series.NAME, 3, RESTORER.upstreams)
    record(Path(store.root), RESTORER, TrialState.PRUNED, value=value, intermediate_values={1: value})
    record(Path(store.root), longer, TrialState.PRUNED, value=value, intermediate_values={1: value})
    another = next(v for name, v in metrics["history"][0].items() if "/" in name and v != value)
    record(Path(store.root), RESTORER, TrialState.PRUNED, value=another, intermediate_values={1: another})
    code, out, _ = rerun(capsys, store, "restorer/0")
    assert code == 0 and "was stopped early at epoch 1, so its objective, val/psnr, is compared" in out
    for trial in ("restorer/1", "restorer/2"):
        code, out, _ = rerun(capsys, store, trial)
        assert code == 1 and "is different" in out


def test_other_code_is_said_first(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = store.folder(HVAE.address)
    files: dict[str, Any] = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    del files["manifest.json"]
    fields = {**json.loads(files["config.json"]), "code_version": "0" * 16}
    files["config.json"] = json.dumps(fields).encode()
    old = tiny_series.publish(tmp_path / "old")
    old.publish("hvae/00000000deadbeef", files)
    code, out, err = rerun(capsys, old, "hvae/00000000deadbeef")
    assert code == 0, out + err
    assert out.startswith("The code of the stage hvae has changed since hvae/00000000deadbeef ran")


@pytest.mark.parametrize(
    ("trial", "words", "message"),
    [
        ("restorer", (), "A trial is named STUDY/NUMBER"),
        ("x/..", (), "A trial is named STUDY/NUMBER"),
        ("../x/abc", (), "A trial is named STUDY/NUMBER"),
        ("../x/0123456789abcdef", (), "or kind/fingerprint, such as hvae/0123456789abcdef, but got '../x/0123"),
        ("x/0123456789abcdef", (), "There is no execution `x/0123456789abcdef`"),
        ("restorer/7", (), "There is no trial 7 of the study `restorer`"),
        ("restorer/7", (), "the nearest is `restorer/1`"),
        ("restoer/0", (), "There is no study `restoer`"),
        ("hvae/0123456789abcde", (), "the nearest is `hvae/"),
        ("series/tiny", (), "is a series"),
        ("restorer/1", (), "must have ended before it can be repeated, but is running"),
        ("restorer/0", ("--device", "gpu"), "--device must be cpu, cuda"),
        ("restorer/0", ("--num-cpus", "0"), "`--num-cpus >= 1` must hold"),
        ("restorer/0", ("--experiment", "other"), "experiment other, but its journal holds none"),
    ],
)
def test_a_mistake_gets_one_sentence(
    trial: str, words: tuple[str, ...], message: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    record(Path(store.root), RESTORER, TrialState.COMPLETE, value=1.0)
    record(Path(store.root), RESTORER, TrialState.RUNNING)
    code, out, err = rerun(capsys, store, trial, *words)
    assert code == 2 and message in err, out + err
    assert err.count("\n") == 1 and "Traceback" not in err and out == ""


def test_what_it_builds_on_must_be_there(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.drop(HVAE.address)
    code, _, err = rerun(capsys, store, RESTORER.address)
    assert code == 2 and f"builds on {HVAE.address}, which must be in" in err
