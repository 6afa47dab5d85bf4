"""The head of a cluster by what Ray's launcher noted of it, for a file that its check takes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from studies.head import head_of, prepared
from tests.ssh_here import cluster_file, note_head

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """cluster.local.yaml with a token and a key; what Ray notes of it lies in a folder of its own."""
    monkeypatch.chdir(CHECKOUT)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    for name in ("token", "key"):
        (tmp_path / name).write_text("secret")
        (tmp_path / name).chmod(0o600)
    auth = {"ssh_user": "me", "ssh_private_key": str(tmp_path / "key"), "ssh_proxy_command": "nc -q0 %h %p"}
    return cluster_file(tmp_path, auth, tmp_path / "token")


def test_it_is_reached_as_ray_s_launcher_reaches_it(file: Path) -> None:
    note_head(file, "up-to-date", file.parent)
    head = head_of(file)
    assert (head.place, head.key) == ("me@192.0.2.10", str(file.parent / "key"))
    words = head.ssh()
    assert "ProxyCommand=nc -q0 %h %p" in words and "BatchMode=yes" in words


def test_a_cluster_that_was_not_started_is_said_in_one_sentence(file: Path) -> None:
    with pytest.raises(ValueError, match=r"must run, as `ray up` starts it, but .*not found"):
        head_of(file)
    note_head(file, "setting-up", file.parent)
    with pytest.raises(ValueError, match="must run"):
        head_of(file)


def test_what_would_lead_elsewhere_is_forgotten(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_UP_enable_autoscaler_v2", "0")
    assert prepared(file)["cluster_name"] == file.parent.name
    assert not {"RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"} & set(os.environ)
