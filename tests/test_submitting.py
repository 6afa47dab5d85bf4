"""What `submit` gives the head, which job it finds, and how one is followed over a connection that is lost."""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from studies import following, revision, submitting, tunnel
from studies.submitting import begun, check_places, passed_on


def job(name: str, status: str, entrypoint: str = "run all") -> Any:
    return SimpleNamespace(
        submission_id=name, status=SimpleNamespace(value=status), entrypoint=entrypoint, message="because"
    )


class Jobs:
    """As Ray's client, with the jobs that it is given; `answers` are what it says one after the other of one job."""

    def __init__(self, *jobs: Any, answers: list[Any] | None = None):
        self.jobs, self.answers, self.submitted = list(jobs), answers or [], []  # type: ignore[var-annotated]

    def list_jobs(self) -> list[Any]:
        return self.jobs

    def submit_job(self, **given: Any) -> str:
        self.submitted.append(given)
        return str(given["submission_id"])

    def get_job_info(self, name: str) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        self.log = answer[1]
        return job(name, answer[0])

    def get_job_logs(self, name: str) -> str:
        return str(self.log)


def test_run_is_given_all_but_what_is_submits_own() -> None:
    words = ["hvae", "--cluster", "a.yaml", "--scale", "smoke", "--detach", "--set", "hvae.space.beta=1"]
    assert passed_on(words) == ["hvae", "--scale", "smoke", "--set", "hvae.space.beta=1"]
    assert passed_on(["--cluster=a.yaml", "all"]) == ["all"]


def test_one_job_of_an_experiment_goes_on_and_the_same_command_finds_it() -> None:
    others = (job("lines-smoke-1", "FAILED"), job("lines-smoke-large-7", "RUNNING", "other"), job("", "RUNNING"))
    client = Jobs(*others, job("lines-smoke-2", "RUNNING"))
    assert begun(client, "lines-smoke", "run all") == ("lines-smoke-2", False) and not client.submitted
    with pytest.raises(ValueError, match=r"but lines-smoke-2 does: `run all`; give that command, or wait"):
        begun(client, "lines-smoke", "run hvae")
    client = Jobs(*others)
    assert begun(client, "lines-smoke", "run all") == ("lines-smoke-2", True)
    (shipped,) = client.submitted
    assert shipped["runtime_env"]["env_vars"] == revision.shipped(submitting.CODE)
    assert {".git", "results"} <= set(shipped["runtime_env"]["excludes"])


def test_a_checkout_without_its_repository_says_which_commit_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert revision.commit(tmp_path) == revision.UNKNOWN
    monkeypatch.setenv(revision.SHIPPED, "c0ffee-dirty")
    assert revision.commit(tmp_path) == "c0ffee-dirty"
    assert revision.commit(submitting.CODE) != "c0ffee-dirty"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"storage": Path("results")}, "--storage must be a folder that outlives the machines .* but is results"),
        ({"dataset": Path("mine.yaml")}, "mine.yaml must lie in the checkout, or be an absolute path"),
        ({"names": ["own.yaml"]}, "own.yaml must lie in the checkout"),
        ({"store": "s3://key:secret@bucket/folder"}, "--store must go without credentials"),
        ({"store": "s3://bucket/folder?endpoint=x"}, "--store must go without credentials"),
    ],
)
def test_what_the_cluster_would_not_find_or_others_could_read_is_refused(changed: dict[str, Any], says: str) -> None:
    fine: dict[str, Any] = {
        "names": ["all", "/shared/own.yaml", "benchmarks/joint.yaml"],
        "store": "s3://bucket/folder",
    }
    fine |= {"storage": Path("/shared/results"), "dataset": Path("studies/datasets/lines.yaml")}
    check_places(argparse.Namespace(**fine))
    with pytest.raises(ValueError, match=says) as error:
        check_places(argparse.Namespace(**{**fine, **changed}))
    assert "secret" not in str(error.value)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(following, "GONE_AFTER_S", 0.5)


def follow(client: Jobs) -> tuple[int, int]:
    """Exit code, and how often a connection was made."""
    opened = []

    @contextmanager
    def way(file: Path, port: int) -> Iterator[int]:
        opened.append(port)
        yield 1

    return following.follow(Path("cluster.yaml"), "lines-1", way, lambda port: client), len(opened)


@pytest.mark.usefixtures("quick")
def test_a_job_is_followed_over_a_lost_connection_and_its_log_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    lost = ConnectionError("reset")
    answers = [("PENDING", ""), ("RUNNING", "one\n"), lost, ("RUNNING", "one\ntwo\n"), ("SUCCEEDED", "one\ntwo\nend\n")]
    assert follow(Jobs(answers=answers)) == (0, 2)
    assert capsys.readouterr().out == "one\ntwo\nend\n"


@pytest.mark.usefixtures("quick")
def test_a_job_that_failed_and_a_head_that_is_gone_have_codes_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert follow(Jobs(answers=[("FAILED", "said\n")]))[0] == 1
    assert "lines-1 has failed: because" in capsys.readouterr().err
    assert follow(Jobs(answers=[ConnectionError("no route")] * 1000))[0] == following.UNREACHED
    assert "has not for 0.5 s (no route)" in capsys.readouterr().err


def test_a_port_that_another_process_listens_on_is_no_tunnel() -> None:
    code = "import socket, sys; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen();"
    code += "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdin is not None
    port = int(process.stdout.readline())
    assert tunnel._listens(process, port)
    with socket.socket() as ours:
        ours.bind(("127.0.0.1", 0))
        ours.listen()
        assert not tunnel._listens(process, ours.getsockname()[1])
    process.stdin.close()
    process.wait()
    assert not tunnel._listens(process, port)
