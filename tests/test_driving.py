"""Drivers work side by side in a results folder, `prune` by itself."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from dehazing.pipeline.lease import holder
from dehazing.pipeline.store import Store
from studies.driving import PRUNING, alone, driving


def test_drivers_work_side_by_side_and_leave_nothing(tmp_path: Path) -> None:
    with driving(tmp_path) as one, driving(tmp_path) as other:
        assert one != other and holder(Store(tmp_path), one) and holder(Store(tmp_path), other)
    assert not list((tmp_path / "stages" / "drivers").iterdir())


def test_prune_is_refused_while_a_driver_works_in_one_of_its_folders(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    with driving(second):
        with (
            pytest.raises(ValueError, match=r"must be alone in .*/b, but 1 `run` is at work there"),
            alone([first, second]),
        ):
            pass
        with alone([first]), pytest.raises(ValueError, match=r"another one is at work"), alone([first]):
            pass
    with alone([first, second]):
        assert holder(Store(first), PRUNING) and holder(Store(second), PRUNING)
    assert not holder(Store(first), PRUNING)


def test_a_driver_that_begins_while_prune_drops_waits_for_its_end(tmp_path: Path) -> None:
    begun = threading.Event()

    def drive() -> None:
        with driving(tmp_path):
            begun.set()

    with alone([tmp_path]):
        driver = threading.Thread(target=drive)
        driver.start()
        assert not begun.wait(1.0)
    assert begun.wait(10.0)
    driver.join()
