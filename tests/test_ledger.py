"""A key's run is known to every tracker of the experiment, whatever was cut off, and for one MLflow alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from studies.tracking.ledger import Ledger, place


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_what_one_tracker_notes_the_other_finds(tmp_path: Path) -> None:
    one, other = Ledger(tmp_path, "lines"), Ledger(tmp_path, "lines")
    with one.alone():
        assert one.run_id("unet/0") is None
        one.add({"unet/0": "a"})
    assert other.run_id("unet/0") == "a"
    with other.alone():
        other.add({"unet/0": "b"})  # the first was deleted
    assert one.run_id("unet/0") == "b"
    assert not one.is_filled("1")
    other.filled("1")
    assert one.is_filled("1") and not one.is_filled("2")


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    Ledger(tmp_path, "lines").add({"unet/0": "a", "unet/1": "b"})
    path = tmp_path / "lines" / "mlflow" / "runs.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    again = Ledger(tmp_path, "lines")
    assert again.run_id("unet/0") == "a" and again.run_id("unet/1") is None
    again.add({"unet/1": "c"})
    assert Ledger(tmp_path, "lines").run_id("unet/1") == "c"


def test_another_mlflow_has_runs_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Ledger(tmp_path, "lines").add({"unet/0": "a"})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somebody:secret@mlflow.lab:5000")
    assert place() == "http://mlflow.lab:5000"
    elsewhere = Ledger(tmp_path, "lines")
    assert elsewhere.run_id("unet/0") is None
    elsewhere.add({"unet/0": "z"})
    assert "secret" not in (tmp_path / "lines" / "mlflow" / "runs.jsonl").read_text()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert Ledger(tmp_path, "lines").run_id("unet/0") == "a"
