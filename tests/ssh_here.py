"""A head that SSH reaches without a network: each connection has an sshd of its own, on this machine."""

from __future__ import annotations

import getpass
import os
import shutil
import stat
import subprocess
from pathlib import Path

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
