"""MLflow's server is asked before a run on a cluster begins: what is no MLflow is refused, and the host is named."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from studies import cluster
from studies.scale import Scale
from studies.tracking import reachable
from studies.tracking.reachable import require_mlflow


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reachable, "TRIES_AFTER_S", (0.0, 0.1))


@contextmanager
def answering(code: int, content: bytes) -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Not among the test's output."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("code", "content", "said"),
    [
        (200, b'{"experiment": {"experiment_id": "0"}}', ""),
        (404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}', ""),
        (401, b"You are not authenticated", ""),
        (403, b"Invalid Host header - possible DNS rebinding attack detected", "it says 403 Forbidden"),
        (503, b"busy", "it says 503"),
        (200, b"<html>a page of somebody else</html>", "what answers there is no MLflow"),
    ],
)
def test_what_answers_must_be_mlflow(code: int, content: bytes, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(code, content) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        if not said:
            return require_mlflow()
        with pytest.raises(ValueError, match=f"does not answer {socket.gethostname()}: {said}"):
            require_mlflow()


def test_a_run_on_a_cluster_is_refused_before_it_joins_where_nothing_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    for name in ("OMP_NUM_THREADS", *cluster.QUIET):
        monkeypatch.setenv(name, "1")  # so that what is set here is set back
    with pytest.raises(ValueError, match=r"MLflow must answer the driver's host, but .* Connection refused"):
        cluster.start(Scale(), False, str(tmp_path))


def test_a_database_that_is_a_file_is_nobody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////shared/mlflow.db")
    require_mlflow()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    require_mlflow()
