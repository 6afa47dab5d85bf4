"""A Ray cluster on the mock of AWS: cluster.yaml, changed only where the mock needs it, and why."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.clustered import SMALL, Cluster
from tests.cluster.mock_aws import BUCKET, HEAD, USER, WORKER, Cloud

FOLDER = "/mnt/study"  # as cluster.yaml has it
Change = Callable[[Cloud, Any], Any]


def _credentials(cloud: Cloud, key: str) -> str:
    words = shlex.join(f"{name}={value}" for name, value in cloud.environment(key).items())
    return f"grep -qs AWS_ENDPOINT ~/.bashrc || echo 'export {words}' >> ~/.bashrc"


def _with(word: str, lines: list[str]) -> list[str]:
    return [line for line in lines if word in line]


def _smaller(_: Cloud, lines: list[str]) -> list[str]:
    return [line.replace("ray start ", f"ray start {SMALL} ") for line in lines]


CHANGES: dict[str, tuple[str, Change]] = {  # key → why it must change, and into what
    "provider.use_internal_ips": (
        "the mock invents public addresses of real ranges, on which nobody may knock",
        lambda cloud, _: True,
    ),
    "auth.ssh_user": ("a pretend host knows root alone", lambda cloud, _: "root"),
    "available_node_types.gpu_spot.resources": (
        "one trial shall fill a worker, and it trains on one CPU; the GPU is there as AWS describes the type",
        lambda cloud, resources: {**resources, "CPU": 1},
    ),
    "available_node_types.gpu_on_demand.resources": ("as above", lambda cloud, resources: {**resources, "CPU": 1}),
    "setup_commands": (
        "the hosts have this machine's packages, and no registry",
        lambda cloud, lines: _with(".bashrc", lines),
    ),
    "head_setup_commands": (
        "there is no volume to attach, no systemd to start MLflow and no metadata service to ask for credentials",
        lambda cloud, lines: [
            f"mkdir -p {FOLDER}",
            _credentials(cloud, HEAD),
            *_with("refused.sh", lines),
            *_with(".bashrc", lines),
        ],
    ),
    "worker_setup_commands": ("as above", lambda cloud, lines: [_credentials(cloud, WORKER), *lines]),
    "head_start_ray_commands": ("all hosts share this machine's memory", _smaller),
    "worker_start_ray_commands": ("as above", _smaller),
}


class AwsCluster(Cluster):
    """`ray up` on the mock; the head is the first instance. Which hosts there are, the cloud says."""

    FILE, PORT_HERE = "cluster.yaml", 18266
    MLFLOW, ARTIFACTS = f"{FOLDER}/mlflow", f"s3://{BUCKET}/mlflow"
    RESULTS, STORE = f"{FOLDER}/results", f"s3://{BUCKET}/store"

    def __init__(self, cloud: Cloud, folder: Path, checkout: Path):
        self.cloud = cloud
        super().__init__(cloud.bed, cloud.bed.hosts, folder, checkout)
        del self.environment["RAY_UP_enable_autoscaler_v2"]  # the newer one is meant
        self.environment |= cloud.environment(USER)

    def _changed(self, file: dict[str, Any]) -> dict[str, Any]:
        """The bucket's name, as its comments say, and what the mock needs."""
        file = yaml.safe_load(yaml.safe_dump(file).replace("CHANGE-ME-study", BUCKET))
        for key, (_, change) in CHANGES.items():
            *outer, last = key.split(".")
            place = file
            for name in outer:
                place = place[name]
            place[last] = change(self.cloud, place.get(last, []))
        return file

    def up(self) -> None:
        """Ray and MLflow's server on the head, and a tunnel to the dashboard; workers come when they are needed."""
        try:
            self.asked("ray", "up", "-y", "--no-config-cache", str(self.file))
        finally:
            self.cloud.check_watch()  # why it waited in vain
        self.serve()
        self.tunnel()

    def num_nodes(self) -> int:
        """How many nodes Ray takes for alive."""
        said = self.head.ssh(". ~/.bashrc; RAY_AUTH_MODE=token ray status", check=False).stdout
        active = said.partition("Active:")[2].partition("Pending:")[0]
        return sum(int(number) for number in re.findall(r"^ (\d+) \w+", active, re.MULTILINE))

    def fetch(self, folder: Path) -> Path:
        """The head's folder of the study, brought here."""
        ssh = shlex.join(["ssh", *self.bed.ssh_options])
        self.asked("rsync", "-a", "-e", ssh, f"root@{self.head.address}:{FOLDER}/", str(folder))
        return folder
