"""The job script for Slurm, with a stand-in for srun that starts its steps on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "docs" / "slurm.sh"
SRUN = '#!/usr/bin/env bash\nwhile [[ $1 == --* ]]; do shift; done\nexec "$@"\n'
DRIVER = """import sys, time, ray
ray.init(logging_level="ERROR")
print("driver", sys.argv[1:], sum(node["Alive"] for node in ray.nodes()), flush=True)
try:
    time.sleep(100)
except KeyboardInterrupt:
    sys.exit(130)
"""


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
def test_the_job_starts_ray_with_a_token_and_stops_the_driver_when_the_time_is_up(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "srun").write_text(SRUN)
    (tmp_path / "bin" / "srun").chmod(0o755)
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "__main__.py").write_text(DRIVER)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = f"test{os.getpid()}"
    path = os.pathsep.join([str(tmp_path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "SLURM", "PYTHONPATH"))} | {
        **{"PATH": path, "HOME": str(tmp_path), "RAY_HEAD_ADDRESS": "127.0.0.1", "RAY_HEAD_PORT": str(port)},
        **{"SLURM_JOB_ID": job, "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "1"},
    }
    log = tmp_path / "log"
    token = tmp_path / ".ray" / f"token-{job}"
    with log.open("wb") as out:
        words = ["bash", str(SCRIPT), "all", "--scale", "smoke"]
        # bash cannot trap what was ignored before it began, as it is in the background of another script
        process = subprocess.Popen(
            words, cwd=tmp_path, env=environment, stdout=out, stderr=out, preexec_fn=_heed_interrupts
        )
    try:
        deadline_s = time.monotonic() + 240
        while "driver [" not in log.read_text() and process.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.5)
        assert "driver ['run', 'all', '--scale', 'smoke'] 2" in log.read_text(), log.read_text()
        assert token.stat().st_mode & 0o777 == 0o600 and len(token.read_text()) == 64
        process.send_signal(signal.SIGINT)  # as Slurm does before the time is up
        assert process.wait(120) == 130, log.read_text()
        assert not token.exists()
        with socket.socket() as head:
            assert head.connect_ex(("127.0.0.1", port)) != 0, "Ray is still there"
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(120)
        shutil.rmtree(f"/tmp/ray-{job}", ignore_errors=True)
