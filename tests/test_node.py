"""What a node of a cluster must have as the driver's has it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from dehazing.pipeline.store import Store
from studies.tracking.identity import results_id
from tests import tiny_series
from trainables import node
from trainables.trial import Trial


def test_a_node_that_has_the_same_differs_in_nothing(tmp_path: Path) -> None:
    results_id(tmp_path)
    expected = node.alike(str(tmp_path))
    assert expected["torch"].startswith("2.") and expected[str(tmp_path)] == results_id(tmp_path)
    assert node.difference(expected, str(tmp_path)) == ""
    assert node.difference(node.alike("s3://bucket/folder"), "s3://bucket/folder") == ""


@pytest.mark.parametrize("package", ["Python", "torch", "numpy"])
def test_another_version_is_named_with_the_node(package: str, tmp_path: Path) -> None:
    expected = {**node.alike(str(tmp_path)), package: "1.2.3"}
    said = node.difference(expected, str(tmp_path))
    here = node.alike(str(tmp_path))[package]
    assert (
        said
        == f"Every node must have {package} 1.2.3, as the driver's host has, but {socket.gethostname()} has {here}."
    )


def test_a_folder_that_is_not_shared_is_told_from_one_that_is(tmp_path: Path) -> None:
    place, elsewhere = tmp_path / "results", tmp_path / "aside"
    results_id(place)
    expected = node.alike(str(place))
    place.rename(elsewhere)
    assert f"must see the results folder {place}" in node.difference(expected, str(place))  # none
    results_id(place)
    assert f"{socket.gethostname()} sees another" in node.difference(expected, str(place))


def test_a_trial_on_a_node_that_differs_ends_everything_with_the_sentence(tmp_path: Path) -> None:
    store: Store = tiny_series.publish(tmp_path)
    work = {"store": store.place, "executions": {}, "device": "cpu"}
    trial = Trial({**work, "alike": {**node.alike(store.place), "torch": "1.0.0"}})
    ended = trial.step()
    assert ended["done"] and "Every node must have torch 1.0.0" in ended["stop"]
