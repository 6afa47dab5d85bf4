"""What whoever uses a cluster has besides `submit`: status, pages and fetch, asked of a cluster that has run."""

from __future__ import annotations

import re
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from dehazing.data.archive import load_series
from dehazing.pipeline.store import Store
from tests.cluster.clustered import Cluster
from tests.report_page import Page
from tests.restorable import frames_of, write

ANSWERS_IN_S = 120.0


def check_status(cluster: Cluster, job: str, storage: str) -> None:
    """Nodes, the job, its last lines, and what the head says of its experiment, with and without being told which."""
    said = cluster.asked("python", "-m", "studies", "status", "--cluster", str(cluster.file))
    assert re.search(rf"^nodes +{1 + len(cluster.workers)} alive", said, re.MULTILINE), said
    assert f"job        {job} succeeded after" in said and "\n           | " in said
    assert f" in {storage}\n" in said and re.search(r"^unet +(\d+)/\1 complete", said, re.MULTILINE), said
    words = ["status", "unet", "--scale", "smoke", "--storage", storage, "--cluster", str(cluster.file)]
    assert f" in {storage}\n" in cluster.asked("python", "-m", "studies", *words)
    assert "studies-ask-" not in said, "what was only asked is no job"


def check_fetch(cluster: Cluster, storage: str, there: Path, home: Path) -> None:
    """The report, its tables and the networks come home; every link leads somewhere. there: the storage from here."""
    words = ["fetch", "--storage", storage, "--to", str(home), "--cluster", str(cluster.file)]
    said = cluster.asked("python", "-m", "studies", *words)
    name = next(iter(there.glob("*/confirm.json"))).parent.name
    page = home / name / "report" / "index.html"
    assert f"report   {page}" in said
    assert page.read_bytes() == (there / name / "report" / "index.html").read_bytes()
    links = [link for link in Page(page.read_text(encoding="utf-8")).links if not link.startswith(("data:", "#"))]
    assert len(links) > 10 and all((page.parent / link).exists() for link in links), links
    before = {path: path.stat().st_ino for path in home.rglob("*") if path.name != "fetched.json"}
    cluster.asked("python", "-m", "studies", *words)
    assert {path: path.stat().st_ino for path in before} == before, "what is here already is left"
    store, image, restored = Store(there), home.with_name("a.ome.tif"), home.with_name("restored")
    (series,) = (address for address in store.addresses() if address.startswith("series/"))
    write(image, frames_of(load_series(store.folder(series)), 2)[0])
    words = ["restore", str(image), "--model", "unet", "--level", "2", "--storage", str(home), "--out", str(restored)]
    cluster.asked("python", "-m", "studies", *words)
    assert any(restored.iterdir())


def check_pages(cluster: Cluster) -> None:
    """Both pages answer on this machine, at the ports that are said; the dashboard to whoever has the token alone."""
    words = ["python", "-m", "studies", "ui", "--cluster", str(cluster.file)]
    process = subprocess.Popen(
        words, cwd=cluster.checkout, env=cluster.environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        said = "".join(process.stdout.readline() for _ in range(3))
        tracking, dashboard = re.findall(r"http://127\.0\.0\.1:\d+", said)
        assert cluster.token.read_text() not in said and str(cluster.token) in said
        for address in (f"{tracking}/health", f"{tracking}/"):
            _wait_for(urllib.request.Request(address))
        jobs = f"{dashboard}/api/jobs/"
        _wait_for(urllib.request.Request(jobs, headers={"Authorization": f"Bearer {cluster.token.read_text()}"}))
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(jobs, timeout=10)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_for(request: urllib.request.Request) -> None:
    deadline_s = time.monotonic() + ANSWERS_IN_S
    while True:
        with suppress(OSError), urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200
            return
        assert time.monotonic() < deadline_s, f"{request.full_url} must answer"
        time.sleep(1.0)
