"""What a node of a cluster must have as the driver's has it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from dehazing.pipeline.store import Store
from studies import cluster
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
    expected = {**cluster.alike(str(tmp_path)), package: "1.2.3"}
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


def test_work_on_a_node_that_differs_is_given_up_for_another_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "RETRIES_S", (0.0, 0.0))
    store: Store = tiny_series.publish(tmp_path)
    expected = cluster.alike(store.place)
    work = {"store": store.place, "executions": {}, "device": "cpu"}
    trial = Trial({**work, "alike": {**expected, "torch": "1.0.0"}})
    with pytest.raises(node.Unlike, match=r"Every node must have torch 1\.0\.0"):
        trial.step()
    (tmp_path / node.SIGN).unlink()
    with pytest.raises(node.Unlike, match="must see the results folder"):
        node.require_alike(expected, store.place)
    with pytest.raises(FileNotFoundError):
        node.alike(store.place)


def test_a_folder_that_is_mounted_a_moment_later_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = cluster.alike(str(tmp_path / "results"))
    aside = (tmp_path / "results").rename(tmp_path / "aside")
    monkeypatch.setattr(node.time, "sleep", lambda seconds: aside.rename(tmp_path / "results"))
    node.require_alike(expected, str(tmp_path / "results"))
