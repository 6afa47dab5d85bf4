"""Pretend hosts: what outlives a loss of power, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster import hosts

pytestmark = pytest.mark.cluster


def test_a_disk_outlives_its_host_where_it_is_kept(tmp_path: Path) -> None:
    reason = hosts.why_not()
    if reason:
        pytest.skip(reason)
    with hosts.Bed(Path("/run/dehazing-bed"), tmp_path / "shared", 1) as (host,):
        host.ssh("echo mine > ~/note; echo mine > /tmp/ray/note; echo mine > /note")
        host.cut_power()
        assert host.is_off and not host.is_up()
        host.boot(keeps_disk=True)
        assert host.ssh("cat ~/note /tmp/ray/note /note").stdout == "mine\n" * 3
        host.cut_power()
        host.boot()
        assert host.ssh("ls ~/note /tmp/ray/note /note", check=False).stdout == ""
    assert not Path("/run/dehazing-bed").is_mount()
