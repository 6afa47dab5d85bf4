"""A head that SSH reaches without a network: each connection has an sshd of its own, on this machine."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import yaml

from studies.head import Head

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
SEPARATED = Path("/run/sshd")  # which an sshd of root's wants


def why_not() -> str:
    """Why there can be none here, or ""."""
    if SSHD is None or shutil.which("ssh") is None or shutil.which("rsync") is None:
        return "needs ssh, sshd and rsync (Debian: openssh-server, rsync)"
    if os.geteuid() == 0 and not SEPARATED.is_dir():
        SEPARATED.mkdir(mode=0o755)
    return ""


def head_here(folder: Path) -> Head:
    """The head, with keys of its own in an empty folder."""
    for name in ("host", "mine"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    authorized = folder / "authorized"
    shutil.copy(folder / "mine.pub", authorized)
    authorized.chmod(stat.S_IRUSR | stat.S_IWUSR)
    config = folder / "sshd_config"
    config.write_text(
        f"HostKey {folder / 'host'}\nAuthorizedKeysFile {authorized}\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nPermitRootLogin prohibit-password\n"
    )
    proxy = f"{SSHD} -i -f {config} -E {folder / 'sshd.log'}"
    return Head(folder / "cluster.yaml", "head.invalid", getpass.getuser(), str(folder / "mine"), proxy)


def cluster_file(folder: Path, auth: dict[str, str | None], token: Path) -> Path:
    """cluster.local.yaml with this way in, of a name that no other file of this process has."""
    config = yaml.safe_load((Path(__file__).parents[1] / "cluster.local.yaml").read_text())
    config |= {"cluster_name": folder.name, "auth": auth}
    config["file_mounts"]["~/.ray/auth_token"] = str(token)
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def note_head(file: Path, status: str, temporary: Path) -> None:
    """As Ray's local provider notes it when `ray up` has come so far; temporary: what RAY_TMPDIR is."""
    config = yaml.safe_load(file.read_text())
    head = {"tags": {"ray-node-type": "head", "ray-node-status": status}, "state": "running"}
    (temporary / "ray").mkdir(exist_ok=True)
    (temporary / "ray" / f"cluster-{config['cluster_name']}.state").write_text(
        json.dumps({config["provider"]["head_ip"]: head})
    )
