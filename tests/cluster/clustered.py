"""A Ray cluster on pretend hosts: cluster.local.yaml, changed only where such hosts need it, and what it is asked."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.hosts import Bed, Host

CHECKOUT = Path(__file__).parents[2]
SHARED = "/shared/study"  # as cluster.local.yaml has it
RESULTS = f"{SHARED}/results"
DASHBOARD, TRACKING = 8265, 5000  # ports of the head
OUTSIDE = 18265  # the tunnel's end on this machine
READY_IN_S = 120.0
SERVER = (
    "MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false setsid nohup python -m mlflow server "
    "--host {address} --port {port} --workers 1 --backend-store-uri sqlite:///{folder}/mlflow.db "
    "--artifacts-destination {artifacts} --allowed-hosts '{address}:{port},127.0.0.1:*,localhost:*' "
    "> /tmp/mlflow.log 2>&1 < /dev/null &"
)


class Cluster:
    """`ray up`, jobs from outside, `ray down`. The first host is the head.

    folder: a new one, for what would lie in the home of whoever uses the cluster. checkout: whose code runs.
    """

    FILE, PORT_HERE = "cluster.local.yaml", OUTSIDE
    MLFLOW, ARTIFACTS = f"{SHARED}/mlflow", f"{SHARED}/mlflow/artifacts"

    def __init__(self, bed: Bed, hosts: Sequence[Host], folder: Path, checkout: Path):
        self.hosts, self.bed = hosts, bed
        self.checkout, self.file = checkout, folder / "cluster.yaml"
        self._tunnel: subprocess.Popen[bytes] | None = None
        token = folder / "home" / ".ray" / "auth_token"
        token.parent.mkdir(parents=True, exist_ok=True)
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        self.token = token
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))},
            "HOME": str(folder / "home"),
            "PATH": path,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_UP_enable_autoscaler_v2": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self.file.write_text(yaml.safe_dump(self._changed(yaml.safe_load((CHECKOUT / self.FILE).read_text()))))

    @property
    def head(self) -> Host:
        """Where the jobs are."""
        return self.hosts[0]

    @property
    def workers(self) -> Sequence[Host]:
        """Where the trials are."""
        return self.hosts[1:]

    def _changed(self, file: dict[str, Any]) -> dict[str, Any]:
        """Addresses and key; no set-up, as the hosts see this machine's packages and no registry; one CPU a host."""
        theirs = " ".join([file["provider"]["head_ip"], *file["provider"]["worker_ips"]])
        ours = " ".join(host.address for host in (self.head, *self.workers))
        provider = {**file["provider"], "head_ip": self.head.address}
        provider["worker_ips"] = [host.address for host in self.workers]
        changed = {**file, "provider": provider, "max_workers": len(self.workers)}
        changed["auth"] = {"ssh_user": "root", "ssh_private_key": str(self.bed.key)}
        changed["file_mounts"] = {"~/.ray/auth_token": str(self.token), "~/setup/cluster": str(CHECKOUT / "cluster")}
        changed |= {"setup_commands": [], "head_setup_commands": []}
        key = "worker_start_ray_commands"
        changed[key] = [line.replace("ray start ", "ray start --num-cpus=1 ") for line in file[key]]
        for key in ("head_start_ray_commands", "worker_start_ray_commands"):
            changed[key] = [line.replace("ray start ", f"ray start {SMALL} ") for line in changed[key]]
            assert any(theirs in line for line in changed[key])
            changed[key] = [line.replace(theirs, ours) for line in changed[key]]
        return changed

    def up(self) -> None:
        """Ray and MLflow's server on the hosts, and a tunnel to the dashboard."""
        self.asked("ray", "up", "-y", "--no-config-cache", str(self.file))
        self.serve()
        _until(lambda: self.num_nodes() == 1 + len(self.workers), READY_IN_S, "every worker must join")
        self.tunnel()

    def mend(self) -> None:
        """Every host up and every worker there again, by a new cluster where one was lost.

        A worker comes back with its disk, as a machine of one's own does; the head with a new one. Ray's launcher never
        asks again for a worker that was lost and came back.
        """
        lost = [host for host in self.hosts if not host.is_up()]
        for host in lost:
            host.boot(keeps_disk=host is not self.head)
        if lost or self.num_nodes() < 1 + len(self.workers):
            self.down()
            for host in self.hosts:  # what still leaves the old cluster would be asked to join the new one
                gone = f"Ray must have left {host.name}"
                _until(lambda host=host: "raylet" not in host.ssh("ps ax -o args").stdout, READY_IN_S, gone)
            self.up()

    def serve(self) -> None:
        """MLflow's server on the head, as the file's set-up starts it (cluster/mlflow.sh) where there is systemd."""
        address, folder = self.head.address, self.MLFLOW
        command = SERVER.format(address=address, port=TRACKING, folder=folder, artifacts=self.ARTIFACTS)
        self.head.ssh(f"mkdir -p {folder}; . ~/.bashrc; {command}")
        health = f"curl -sf http://{self.head.address}:{TRACKING}/health"
        _until(lambda: self.head.ssh(health, check=False).returncode == 0, READY_IN_S, "MLflow must answer")

    def stop_serving(self) -> None:
        """Kill MLflow's server."""
        self.head.ssh("pkill -9 -f '[m]lflow server|[m]lflow.server'", check=False)

    def tunnel(self) -> None:
        """The head's dashboard at PORT_HERE of this machine, through SSH."""
        self.close_tunnel()
        words = [
            "ssh",
            *self.bed.ssh_options,
            "-oExitOnForwardFailure=yes",
            "-N",
            "-L",
            f"{self.PORT_HERE}:127.0.0.1:{DASHBOARD}",
        ]
        self._tunnel = subprocess.Popen([*words, f"root@{self.head.address}"])
        probe = ["curl", "-s", "-o", "/dev/null", f"http://127.0.0.1:{self.PORT_HERE}/api/version"]
        _until(lambda: subprocess.run(probe, check=False).returncode == 0, READY_IN_S, "the dashboard must answer")

    def close_tunnel(self) -> None:
        """End the tunnel, where there is one."""
        if self._tunnel is not None:
            self._tunnel.kill()
            self._tunnel.wait()

    def submit(self, *words: str) -> str:
        """The name of the job that `studies submit WORDS` begins or finds; returns at once."""
        said = self.asked("python", "-m", "studies", "submit", *words, "--cluster", str(self.file), "--detach")
        return said.split("job ")[1].partition(":")[0]

    def following(self, *words: str) -> subprocess.Popen[str]:
        """`studies submit WORDS` as somebody has it before them who waits for the end."""
        return subprocess.Popen(
            ["python", "-m", "studies", "submit", *words, "--cluster", str(self.file)],
            env=self.environment,
            cwd=self.checkout,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def asked(self, *words: str) -> str:
        """What a command of whoever uses the cluster says; AssertionError where it fails."""
        done = self.outside(*words)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout[-2000:]} {done.stderr[-2000:]}"
        return done.stdout

    def outside(self, *words: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """A command on this machine as whoever uses the cluster gives it; its exit code is not looked at."""
        address = {} if "studies" in words else {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{self.PORT_HERE}"}
        return subprocess.run(
            words,
            env={**self.environment, **address, **(environment or {})},
            cwd=self.checkout,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def answer(self, path: str) -> dict[str, Any]:
        """What the dashboard answers to whoever has the token."""
        headers = {"Authorization": f"Bearer {self.token.read_text()}"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.PORT_HERE}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def num_nodes(self) -> int:
        """How many nodes Ray takes for alive."""
        said = self.head.ssh(". ~/.bashrc; RAY_AUTH_MODE=token ray status", check=False).stdout
        return sum(int(number) for number in re.findall(r"^ (\d+) local\.cluster\.node", said, re.MULTILINE))

    def down(self) -> None:
        """`ray down`, and the tunnel with it."""
        self.close_tunnel()
        self.asked("ray", "down", "-y", str(self.file))


SMALL = "--object-store-memory=100000000"


class Job:
    """One job on the head."""

    def __init__(self, cluster: Cluster, name: str):
        self.cluster, self.name = cluster, name

    def status(self) -> str:
        """PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED, as Ray has it."""
        return str(self.cluster.answer(f"/api/jobs/{self.name}")["status"])

    def log(self) -> str:
        """What it said so far."""
        return str(self.cluster.answer(f"/api/jobs/{self.name}/logs")["logs"])

    def until(self, said: str, timeout_s: float = 300.0) -> None:
        """Wait until it has said something."""
        _until(lambda: said in self.log(), timeout_s, f"{self.name} must say {said!r}")

    def end(self, timeout_s: float) -> str:
        """Its last status; AssertionError with its log where it does not end in time."""
        with suppress(AssertionError):
            _until(lambda: self.status() in ENDED, timeout_s, "ends")
            return self.status()
        raise AssertionError(
            f"{self.name} must end within {timeout_s:g} s, but is {self.status()}: {self.log()[-3000:]}"
        )


ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


def _until(holds: Any, timeout_s: float, what: str) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline_s, f"{what} within {timeout_s:g} s"
        time.sleep(1.0)
