"""What `prune` keeps and drops, on a journal of Optuna's and stores of both kinds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.lease import lease
from dehazing.pipeline.object_store import ObjectStore
from dehazing.pipeline.store import Store
from studies import journal
from studies.__main__ import Parser
from studies.driving import PRUNING
from studies.pruning import add_prune, drop, find_waste, note_wanted, prune, size
from studies.reached import reached_by
from studies.storage import note_store

HVAE = Execution("hvae", {}, "d1", 0)
OLD_HVAE = Execution("hvae", {}, "d0", 0)
RESTORER = Execution("restorer", {}, "d1", 0, {"hvae": HVAE.address})
ORPHAN = Execution("hvae", {}, "d1", 7)
OTHER = Execution("unet", {}, "d1", 7)


@pytest.fixture(params=["folder", "objects"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The results folder; where the stages lie is `store`."""
    return tmp_path / "results"


@pytest.fixture
def store(request: pytest.FixtureRequest, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if request.node.callspec.params["root"] == "folder":
        return Store(root)
    store = ObjectStore((tmp_path / "objects").as_uri(), settle_s=0.1)
    root.mkdir()
    note_store(root, store)
    return store


@pytest.fixture
def run(root: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def call(*words: str) -> str:
        parser = Parser(prog="prune")
        add_prune(parser)
        assert prune(parser.parse_args(["--storage", str(root), "--store", store.place, *words])) == 0
        return capsys.readouterr().out

    return call


def publish(store: Store, execution: Execution) -> None:
    store.publish(execution.address, {"config.json": json.dumps(execution.record()).encode(), "weights": b"w" * 1000})


def publish_series(store: Store, name: str) -> None:
    store.publish(f"series/{name}", {"series.json": b"{}"})


def search(root: Path, name: str, *trials: tuple[TrialState, list[Execution]], days: int = 0) -> None:
    """A search with one trial each: its state, and its executions, upstreams first."""
    study = optuna.create_study(storage=journal.storage(root), study_name=name)
    for state, executions in trials:
        attributes = {
            "fingerprint": executions[-1].fingerprint,
            "executions": json.dumps([asdict(execution) for execution in executions]),
        }
        trial = create_trial(state=state, value=0.0 if state == TrialState.COMPLETE else None, user_attrs=attributes)
        trial.datetime_start = datetime(2026, 1, 1) + timedelta(days=days)
        study.add_trial(trial)


def test_what_a_trial_names_or_builds_on_stays_and_the_rest_goes(root, store, run):
    search(root, "e/restorer/1", (TrialState.COMPLETE, [RESTORER]))
    for execution in (HVAE, RESTORER, ORPHAN, OTHER):
        publish(store, execution)
    for name in ("d0", "d1"):
        publish_series(store, name)
    said = run()
    assert "nothing reaches:" in said and "add --yes" in said
    assert ("name other results folders" in said) == isinstance(store, ObjectStore)
    for line in ("hvae           1", "unet           1", "series         1"):
        assert line in said
    assert len(store.addresses()) == 6  # nothing has gone yet
    assert "dropped." in run("--yes")
    assert set(store.addresses()) == {HVAE.address, RESTORER.address, "series/d1"}
    assert store.read(HVAE.address, "weights") == b"w" * 1000
    assert "There is nothing to drop." in run("--yes")


def test_a_trial_of_before_and_one_whose_code_has_changed_are_reached(root, store, run):
    study = optuna.create_study(storage=journal.storage(root), study_name="e/restorer/1")
    attributes = {"fingerprint": "0123456789abcdef", "execution": json.dumps(asdict(RESTORER))}
    study.add_trial(create_trial(state=TrialState.COMPLETE, value=0.0, user_attrs=attributes))
    publish(store, HVAE)
    store.publish("restorer/0123456789abcdef", {"config.json": json.dumps(RESTORER.record()).encode()})
    publish_series(store, "d1")
    assert "There is nothing to drop." in run()


def test_a_confirmation_reaches_its_stages_before_and_after_it_is_done(root, store, run):
    search(root, "e/hvae/1", (TrialState.COMPLETE, [HVAE]))
    for execution in (HVAE, ORPHAN, OTHER):
        publish(store, execution)
    publish_series(store, "d1")
    note_wanted(root / "e", "d1", [ORPHAN.address])
    run("--yes")
    assert set(store.addresses()) == {HVAE.address, ORPHAN.address, "series/d1"}
    (root / "e" / "wanted.json").unlink()
    content = {"dataset": "d1", "stages": {"hvae": {"7": ORPHAN.address}}, "iterative": {"7": "iterative/1"}}
    (root / "e" / "confirm.json").write_text(json.dumps(content))
    assert "There is nothing to drop." in run()


def test_superseded_searches_count_only_where_they_are_asked_for(root, store, run):
    search(root, "e/hvae/old", (TrialState.COMPLETE, [OLD_HVAE]), days=0)
    search(root, "e/hvae/new", (TrialState.COMPLETE, [HVAE]), days=1)
    search(root, "e/unet/old", (TrialState.COMPLETE, [OTHER]), days=-5)
    for execution in (OLD_HVAE, HVAE, OTHER):
        publish(store, execution)
    assert "There is nothing to drop." in run()
    run("--superseded", "--yes")
    assert set(store.addresses()) == {HVAE.address, OTHER.address}


def test_checkpoints_of_what_has_ended_go_and_those_under_way_stay(root, store, run):
    search(
        root,
        "e/hvae/1",
        (TrialState.PRUNED, [HVAE]),
        (TrialState.FAIL, [ORPHAN]),
        (TrialState.RUNNING, [OTHER]),
    )
    for execution in (HVAE, ORPHAN, OTHER, RESTORER):
        (store.partial(execution.address) / "epoch-000001-ab.safetensors").write_bytes(b"c" * 10)
        store.save_partial(execution.address)
    store.remember_failure(ORPHAN.address, "the loss is nan")
    said = run("--yes")
    assert "checkpoints of what has ended:\n    hvae           2  20 B" in said
    assert "never finished, and nothing asks for:\n    restorer       1  10 B" in said
    assert store.files().get(OTHER.address) == {"partial/epoch-000001-ab.safetensors": 10}
    assert store.files().get(HVAE.address, {}) == {} and RESTORER.address not in store.files()
    assert store.failure(ORPHAN.address) == "the loss is nan"


def test_what_somebody_works_on_is_not_touched(root, store, run):
    search(root, "e/hvae/1", (TrialState.COMPLETE, [HVAE]))
    publish(store, ORPHAN)
    with lease(store, ORPHAN.address), lease(store, OTHER.address):
        assert f"kept, as somebody works on it: {ORPHAN.address}, {OTHER.address}" in run("--yes")
        assert store.has(ORPHAN.address)
    run("--yes")
    assert set(store.files()) <= {PRUNING}


def test_leftovers_of_publications_go(root, store, run):
    search(root, "e/hvae/1", (TrialState.COMPLETE, [HVAE]))
    publish(store, HVAE)
    if isinstance(store, ObjectStore):
        store.objects.put(f"stages/{HVAE.address}/files-cut/weights", b"w" * 7)
    else:
        leftover = store.root / "stages" / HVAE.address / "publishing-cut" / "weights"
        leftover.parent.mkdir()
        leftover.write_bytes(b"w" * 7)
    assert "leftovers of publications that were cut off:\n    hvae           1  7 B" in run("--yes")
    assert len(store.files()[HVAE.address]) == 3 and store.read(HVAE.address, "weights")


def test_damage_is_named(root, store, run):
    search(root, "e/hvae/1", (TrialState.COMPLETE, [HVAE]))
    publish(store, HVAE)
    if isinstance(store, ObjectStore):
        (name,) = [name for name in store.files()[HVAE.address] if name.endswith("weights")]
        store.objects.put(f"stages/{HVAE.address}/{name}", b"cut")
    else:
        (store.root / "stages" / HVAE.address / "weights").write_bytes(b"cut")
    assert f"damaged: {HVAE.address}/weights must have 1000 bytes, but has 3" in run()


def test_without_searches_nothing_is_dropped(root, store, run):
    publish(store, HVAE)
    with pytest.raises(ValueError, match="must hold the searches that say what is still needed, but has none"):
        run("--yes")
    assert store.has(HVAE.address)


def test_a_store_of_another_results_folder_is_not_pruned(root, store, tmp_path, capsys):
    search(root, "e/hvae/1", (TrialState.COMPLETE, [HVAE]))
    publish(store, HVAE)
    other = tmp_path / "other"
    search(other, "e/hvae/1", (TrialState.COMPLETE, [ORPHAN]))
    parser = Parser(prog="prune")
    add_prune(parser)
    with pytest.raises(ValueError, match=f"but those of {other} are in {other}"):
        prune(parser.parse_args(["--storage", str(other), "--store", store.place, "--yes"]))
    with pytest.raises(ValueError, match=f"but those of {other} are in {other}"):
        prune(parser.parse_args(["--storage", str(root), "--storage", str(other), "--yes"]))
    (other / "store.url").write_text(store.place)
    if isinstance(store, ObjectStore):
        note_store(other, store)
        message = f"must be named by --storage, but .*:{root} is not"
    else:
        message = f"{root} has searches of its own, so it must be named"
    with pytest.raises(ValueError, match=message):
        prune(parser.parse_args(["--storage", str(other), "--yes"]))
    assert store.has(HVAE.address)
    assert prune(parser.parse_args(["--storage", str(other), "--storage", str(root), "--yes"])) == 0
    assert store.has(HVAE.address)
    if isinstance(store, ObjectStore):
        assert prune(parser.parse_args(["--storage", str(other), "--others-too", "--yes"])) == 0
        assert not store.has(HVAE.address)


def test_what_a_trial_reaches_meanwhile_stays(root, store):
    search(root, "e/hvae/1", (TrialState.COMPLETE, [HVAE]))
    for execution in (HVAE, ORPHAN, RESTORER):
        publish(store, execution)
    (store.partial(OTHER.address) / "epoch-000001-ab.safetensors").write_bytes(b"c" * 10)
    store.save_partial(OTHER.address)
    waste = find_waste(store, store.files(), reached_by(store, [root]))
    assert len(waste.unreached) == 2 and len(waste.unfinished) == 1
    search(root, "e/hvae/2", (TrialState.RUNNING, [ORPHAN]), (TrialState.RUNNING, [OTHER]))
    assert drop(store, waste, [root]) == waste.unreached[RESTORER.address]
    assert set(store.addresses()) == {HVAE.address, ORPHAN.address}
    assert store.files()[OTHER.address] == {"partial/epoch-000001-ab.safetensors": 10}


@pytest.mark.parametrize("content", ['{"dataset": "d1",', "{}", "[]", '{"dataset": "d1", "stages": 3}'])
def test_a_damaged_confirmation_is_named(root, store, run, content):
    search(root, "e/hvae/1", (TrialState.COMPLETE, [HVAE]))
    (root / "e").mkdir()
    for name in ("wanted.json", "confirm.json"):
        (root / "e" / name).write_text(content)
        with pytest.raises(
            ValueError, match=f"{name} must say what its confirmation is made of, but is damaged.*again"
        ):
            run("--yes")
        (root / "e" / name).unlink()


def test_bytes_are_said_as_a_person_reads_them():
    assert [size(n) for n in (0, 999, 1000, 12_345_678, 5e12)] == ["0 B", "999 B", "1.0 kB", "12.3 MB", "5000.0 GB"]
