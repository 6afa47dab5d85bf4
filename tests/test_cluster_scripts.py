"""cluster/*.sh as a machine's set-up runs them, in namespaces of their own, where systemd and AWS are stand-ins.

What they write below /etc goes to a copy. systemctl notes what it is told, and starts a service by the command that its
unit says; aws keeps one volume. All else is real: MLflow, curl, nft.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cluster import hosts

SCRIPTS = Path(__file__).parents[1] / "cluster"
ADDRESS = "10.97.0.1"
NAMESPACES = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
PREPARE = f"""
set -eu
mount -t tmpfs aside "$ASIDE" && mkdir "$ASIDE/upper" "$ASIDE/work"
mount -t overlay etc -o "lowerdir=/etc,upperdir=$ASIDE/upper,workdir=$ASIDE/work" /etc
mount -t tmpfs run /run && mkdir -p /run/systemd/system /etc/systemd/system
: > /etc/fstab
ip link set lo up && ip link add one type veth peer name other
ip addr add {ADDRESS}/24 dev one && ip link set one up && ip link set other up
"""
SYSTEMCTL = r"""
echo "$@" >> "$NOTED"
if [ "$1" = restart ]; then
    unit=/etc/systemd/system/study-mlflow.service
    command=$(sed -n '/^ExecStart=/,/[^\\]$/p' $unit | sed 's/^ExecStart=//; s/\\$//' | tr '\n' ' ')
    cd "$(sed -n 's/^WorkingDirectory=//p' $unit)"
    eval "$(sed -n 's/^Environment=//p' $unit) setsid $command" > "$NOTED.mlflow" 2>&1 &
fi
"""
CURL = r"""
case "$*" in
*api/token*) echo a-token ;;
*"token: a-token"*instance-id) echo i-here ;;
*"token: a-token"*availability-zone) echo us-west-2a ;;
*"token: a-token"*region) echo us-west-2 ;;
*) exit 22 ;;
esac
"""
AWS = r"""
echo "$AWS_DEFAULT_REGION $1 $2" >> "$NOTED"
case "$*" in
*Name=tag:study,Values=dehazing*Values=us-west-2a*) echo "$VOLUMES" ;;
*Attachments*) cat "$HOLDER" ;;
*"wait volume-available"*) grep -q None "$HOLDER" ;;
*attach-volume*) echo i-here > "$HOLDER" && touch /dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123 ;;
esac
"""
BLKID = r'[ -s "$FORMATTED" ] && case "$*" in *UUID*) echo 0000-11 ;; esac'
VOLUME: Mapping[str, str] = {
    "curl": CURL,
    "aws": AWS,
    "blkid": BLKID,
    "mkfs.ext4": 'echo "mkfs.ext4 $2" >> "$NOTED"; echo yes > "$FORMATTED"',
    "mountpoint": 'grep -qs "^mount $2$" "$NOTED"',
    "mount": 'echo "mount $1" >> "$NOTED"',
}
DEVICE = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123"


@pytest.fixture(autouse=True)
def possible() -> None:
    if reason := hosts.why_not():
        pytest.skip(reason)


def run(folder: Path, commands: str, stand_ins: Mapping[str, str], **environment: str) -> tuple[int, str, list[str]]:
    """Exit status, what was said, and what the stand-ins noted, one line each."""
    programs, aside, noted = folder / "bin", folder / "aside", folder / "noted"
    programs.mkdir(exist_ok=True)
    aside.mkdir(exist_ok=True)
    for name, text in {"sudo": 'exec "$@"', **stand_ins}.items():
        (programs / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (programs / name).chmod(0o755)
    given = {**os.environ, **environment, "ASIDE": str(aside), "NOTED": str(noted), "USER": "root"}
    given["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"
    after = f"{PREPARE}\nexport PATH={programs}:$PATH\n{commands}"
    said = subprocess.run([*NAMESPACES, "bash", "-c", after], env=given, capture_output=True, text=True, check=False)
    lines = noted.read_text().splitlines() if noted.exists() else []
    return said.returncode, said.stdout + said.stderr, lines


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="it needs curl")
def test_mlflow_is_a_service_that_answers_those_it_should_and_is_started_again(tmp_path: Path) -> None:
    health = f"http://{ADDRESS}:5000/health"
    status = "curl -s -o /dev/null --max-time 20 -w '%{http_code}\\n'"
    code, said, noted = run(
        tmp_path,
        f"""
        bash {SCRIPTS}/mlflow.sh {tmp_path}/mlflow {tmp_path}/artifacts
        {status} {health}
        {status} -H 'Host: 127.0.0.1:15000' {health}
        {status} -H 'Host: elsewhere.example' http://{ADDRESS}:5000/api/2.0/mlflow/experiments/search
        {status} http://127.0.0.1:5000/health || true
        look=$(sed -n 's/^ExecStart=//p' /etc/systemd/system/study-mlflow-health.service)
        eval "$look"
        pkill -f '[u]vicorn|[m]lflow server' && while {status} {health}; do sleep 0.2; done
        eval "$look"
        """,
        {"systemctl": SYSTEMCTL},
    )
    assert code == 0, said
    answers = said.splitlines()
    assert answers[:5] == [f"MLflow answers on http://{ADDRESS}:5000", "200", "200", "403", "000"]
    assert (tmp_path / "mlflow" / "mlflow.db").exists()
    assert noted == [
        "daemon-reload",
        "enable --quiet study-mlflow.service study-mlflow-health.timer",
        "restart study-mlflow.service study-mlflow-health.timer",
        "restart study-mlflow",
    ], "the look at one that answers restarts nothing"


@pytest.mark.parametrize("holder", ["None", "i-here"], ids=["free", "attached by a set-up that was cut off"])
def test_a_new_volume_is_attached_formatted_and_mounted_once(holder: str, tmp_path: Path) -> None:
    code, said, noted = attach(tmp_path, holder, formatted=False, times=2)
    assert code == 0, said
    assert noted.count("us-west-2 ec2 attach-volume") == (holder == "None")
    assert noted[-2:] == [f"mkfs.ext4 {DEVICE}", f"mount {tmp_path}/study"], "the second time changes nothing"
    assert said.splitlines() == [f"UUID=0000-11 {tmp_path}/study ext4 defaults,nofail 0 2"]


def test_a_volume_that_holds_a_file_system_is_not_formatted(tmp_path: Path) -> None:
    code, said, noted = attach(tmp_path, "None", formatted=True)
    assert code == 0, said
    assert noted[-1] == f"mount {tmp_path}/study" and not any("mkfs" in line for line in noted)


def test_a_volume_of_another_head_is_left_to_it(tmp_path: Path) -> None:
    code, said, noted = attach(tmp_path, "i-other", formatted=True)
    assert code == 1 and "vol-0123 must hang on no other instance, but does" in said
    assert not any("attach" in line or line.startswith(("mount", "mkfs")) for line in noted)


@pytest.mark.parametrize(("volumes", "found"), [("", "none"), ("vol-1 vol-2", "vol-1 vol-2")])
def test_there_must_be_one_volume(volumes: str, found: str, tmp_path: Path) -> None:
    code, said, _ = attach(tmp_path, "None", formatted=False, volumes=volumes)
    assert code == 1 and f"One volume in us-west-2a must have the tag study=dehazing, but there is: {found}." in said


def attach(
    folder: Path, holder: str, *, formatted: bool, volumes: str = "vol-0123", times: int = 1
) -> tuple[int, str, list[str]]:
    """Run volume.sh; what is said ends with /etc/fstab."""
    (folder / "holder").write_text(holder)
    (folder / "formatted").write_text("yes" * formatted)
    there = f"touch {DEVICE}" if holder == "i-here" else ":"
    names = {"HOLDER": str(folder / "holder"), "FORMATTED": str(folder / "formatted"), "VOLUMES": volumes}
    disks = f"mkdir -p /dev/disk && /bin/mount -t tmpfs disks /dev/disk && mkdir /dev/disk/by-id && {there}"
    once = f"bash {SCRIPTS}/volume.sh dehazing {folder}/study\n"
    return run(folder, f"{disks}\n{once * times}cat /etc/fstab", VOLUME, **names)


def test_the_firewall_comes_back_with_the_machine(tmp_path: Path) -> None:
    code, said, noted = run(
        tmp_path,
        f"""
        bash {SCRIPTS}/firewall.sh 192.0.2.10 192.0.2.11
        before=$(nft list table inet study)
        nft delete table inet study
        eval "$(sed -n 's/^ExecStart=//p' /etc/systemd/system/study-firewall.service)"
        [ "$before" = "$(nft list table inet study)" ] && echo "$before"
        """,
        {"systemctl": SYSTEMCTL},
    )
    assert code == 0, said
    assert "192.0.2.11" in said and "8265" in said
    assert noted == ["daemon-reload", "enable --quiet study-firewall.service"]
