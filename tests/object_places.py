"""Places for an object store: a folder as pyarrow's local filesystem has it, and S3 as moto's server plays it."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pyarrow.fs import FileSystem

ADDRESS = "hvae/0123456789abcdef"
FILES = {"weights.safetensors": b"w" * 100, "metrics.json": b"{}", "figures/loss.csv": b"1,2"}
ELSEWHERE = {"host": "elsewhere", "pid": 1, "started_s": 0.0}
SETTLE_S = {"file": 0.3, "s3": 2.0}  # S3's clock has whole seconds
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
}
HAS_MOTO = importlib.util.find_spec("moto") is not None


@contextmanager
def serving_s3() -> Iterator[str]:
    """The URI of a bucket, with a place left for a folder in it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with pytest.MonkeyPatch.context() as patch:
        for key, value in CREDENTIALS.items():
            patch.setenv(key, value)
        server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait_for(f"http://127.0.0.1:{port}/moto-api/data.json", server)
            options = f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
            FileSystem.from_uri(f"s3://bucket/?{options}&allow_bucket_creation=true")[0].create_dir("bucket")
            yield f"s3://bucket/{{folder}}?{options}"
        finally:
            server.kill()
            server.wait()


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> bytes:
    deadline = time.monotonic() + 60
    while True:
        try:
            return urllib.request.urlopen(url, timeout=1).read()
        except OSError:
            assert server.poll() is None and time.monotonic() < deadline, "moto's server does not answer"
            time.sleep(0.1)


def names(store: Any) -> list[str]:
    return sorted(store.files().get(ADDRESS, {}))
