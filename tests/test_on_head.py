"""What a head that runs is asked, and what it answers: Ray's own, on this machine, with its token."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray._private.authentication_test_utils import reset_auth_token_state

from studies import cluster_status, on_head
from studies.__main__ import main
from studies.contents import contents_of
from studies.fetching import told
from studies.following import client_at
from studies.on_head import answer
from tests import ssh_here
from tests.test_fetching import files, made

pytestmark = pytest.mark.slow


def ports(num: int) -> list[int]:
    probes = [socket.socket() for _ in range(num)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    found = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return found


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Of a head without room for a trial, as cluster.local.yaml starts one."""
    pytest.importorskip("aiohttp_cors", reason="needs `pip install -c constraints.txt -e '.[cluster]'`")
    with tempfile.TemporaryDirectory(prefix="dh", dir="/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        (Path(folder) / "token").write_text("0123456789abcdef" * 4)
        (Path(folder) / "token").chmod(0o600)
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN_PATH", f"{folder}/token")
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        patch.delenv("RAY_ADDRESS", raising=False)
        reset_auth_token_state()  # of this process, where Ray has read it before
        names = ("port", "dashboard-port", "dashboard-agent-listen-port", "ray-client-server-port")
        given = dict(zip(names, ports(len(names)), strict=True))
        words = ["ray", "start", "--head", "--block", "--num-cpus=0", "--num-gpus=0", "--dashboard-host=127.0.0.1"]
        words += ["--node-ip-address=127.0.0.1", "--object-store-memory=80000000", f"--temp-dir={folder}/ray"]
        words += [f"--{name}={port}" for name, port in given.items()]
        with (Path(folder) / "said").open("w") as said:
            process = subprocess.Popen(words, stdout=said, stderr=said, start_new_session=True)
        try:
            yield reached(given["dashboard-port"], process, Path(folder) / "said")
        finally:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
            for one in psutil.process_iter(["cmdline"]):  # where it ended before its parts did
                if any(folder in word for word in one.info["cmdline"] or []):
                    with suppress(psutil.NoSuchProcess):
                        one.kill()
            process.wait()
    reset_auth_token_state()


def reached(port: int, process: subprocess.Popen[bytes], said: Path) -> Any:
    """The client, as soon as the head takes jobs."""
    deadline_s = time.monotonic() + 240
    while True:
        try:
            found = client_at(port)
            found.list_jobs()
            return found
        except (RuntimeError, OSError) as error:
            if process.poll() is not None:
                raise RuntimeError(f"ray start: {said.read_text()[-2000:]}") from error
            assert time.monotonic() < deadline_s, f"{error} {said.read_text()[-2000:]}"
            time.sleep(1.0)


def test_a_head_answers_as_the_command_does_here(client: Any, tmp_path: Path) -> None:
    root = made(tmp_path / "there")
    assert told(answer(client, ["fetch", "--list", "--storage", str(root)])) == contents_of(root, "mine-smoke")
    with pytest.raises(ValueError, match=rf"^{root} holds no confirmed experiment `other`; the nearest is"):
        answer(client, ["fetch", "--list", "--storage", str(root), "--experiment", "other"])
    assert cluster_status.jobs_in_order(client) == [], "what was only asked is no job"


def test_an_answer_that_takes_too_long_is_given_up(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_head, "ANSWERS_WITHIN_S", 0.0)
    with pytest.raises(ValueError, match=r"must answer `python -m studies list` within 0 s, but did not"):
        answer(client, ["list"])


def test_status_names_the_node_and_the_job_and_asks_the_head(
    client: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entrypoint = f"echo one; echo two; false python -m studies run unet --storage {tmp_path}"
    client.submit_job(entrypoint=entrypoint, submission_id="lines-smoke-1")
    while client.get_job_info("lines-smoke-1").status.value in ("PENDING", "RUNNING"):
        time.sleep(0.5)
    cluster_status.tell(client, "mine", ["unet", "--scale", "smoke", "--storage", str(tmp_path)])
    said = capsys.readouterr().out
    assert said.startswith("cluster    mine\nnodes      ")
    assert "job        lines-smoke-1 failed after" in said and "           | two\n" in said
    assert f"\nexperiment lines-smoke in {tmp_path}\nunet       0/2 complete" in said


@pytest.mark.skipif(bool(ssh_here.why_not()), reason=ssh_here.why_not())
def test_status_and_fetch_go_through_ssh_to_the_head_of_a_file(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(on_head.CODE)
    monkeypatch.setattr(on_head, "DASHBOARD", int(client.get_address().rpartition(":")[2]))
    head = ssh_here.head_here(tmp_path)
    auth = {"ssh_user": head.user, "ssh_private_key": head.key, "ssh_proxy_command": head.proxy}
    file = ssh_here.cluster_file(tmp_path, auth, token := Path(os.environ["RAY_AUTH_TOKEN_PATH"]))
    ssh_here.note_head(file, "up-to-date", token.parent)
    root, home = made(tmp_path / "there"), tmp_path / "home"
    words = ["--storage", str(root), "--cluster", str(file)]
    assert main(["fetch", *words, "--to", str(home), "--experiment", "mine-smoke"]) == 0
    assert "10 files" in capsys.readouterr().out
    assert main(["fetch", "--storage", str(root), "--to", str(tmp_path / "beside")]) == 0
    assert files(home) == files(tmp_path / "beside")
    assert main(["status", "unet", "--scale", "smoke", *words]) == 0
    assert f"experiment lines-smoke in {root}\n" in capsys.readouterr().out
    assert main(["fetch", *words, "--to", str(home), "--experiment", "other"]) == 2
    error = capsys.readouterr().err
    assert (
        "holds no confirmed experiment `other`; the nearest is `mine-smoke`" in error and token.read_text() not in error
    )
