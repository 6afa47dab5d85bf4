"""Who gets in: the token on every node of a cluster, its dashboard, and the files that it is given."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from studies.cluster import CODE
from studies.cluster_pins import commands

TOKEN = "~/.ray/auth_token"  # where Ray looks for it
HERE = ("127.0.0.1", "localhost")
CLOSING = ("head_setup_commands", "head_start_ray_commands", "worker_start_ray_commands")  # by firewall.sh
OPEN = re.compile(r"(\bmlflow\b.*\s(--host|-h)[\s=\\]*|\bMLFLOW_HOST=)['\"]?(0\.0\.0\.0|::)", re.DOTALL)


def check_mounts(config: Mapping[str, Any], where: str) -> None:
    """ValueError where a file that machines are to get is not here."""
    for remote, local in config["file_mounts"].items():
        path = Path(str(local)).expanduser()
        if not path.exists():
            how = " (`ray get-auth-token --generate` makes it)" if remote == TOKEN else f" (looked in {Path.cwd()})"
            if path.is_absolute() and remote != TOKEN:
                how = ""
            raise ValueError(f"{where}: the source of `file_mounts.{remote}` must exist, but {local} does not{how}.")


def check_key(config: Mapping[str, Any], where: str) -> None:
    """ValueError where the file names a key for SSH that is not here; without a name Ray makes one on AWS."""
    key = config["auth"].get("ssh_private_key")
    if key is not None and not Path(key).expanduser().is_file():
        raise ValueError(f"{where}: `auth.ssh_private_key` must be a file, but {key} is none.")
    if key is not None and Path(key).expanduser().resolve().is_relative_to(CODE):
        raise ValueError(f"{where}: the key must lie outside the checkout, which is shipped, but is {key}.")
    if config["provider"]["type"] == "local" and not config["auth"].get("ssh_user"):
        raise ValueError(f"{where}: `auth.ssh_user` must say who logs in on the machines, but is missing.")


def check_token(config: Mapping[str, Any], where: str) -> None:
    """ValueError where a node would start without asking for the token, or without having one."""
    if TOKEN not in config["file_mounts"]:
        raise ValueError(f"{where}: `file_mounts` must bring the token to {TOKEN}, but does not.")
    source = config["file_mounts"][TOKEN]
    path = Path(source).expanduser().resolve()
    if path.is_relative_to(CODE):
        raise ValueError(f"{where}: the token must lie outside the checkout, which is shipped, but is {source}.")
    if not path.is_file() or not path.read_text().strip():
        raise ValueError(f"{where}: {source} must hold the token, but is empty or no file.")
    if path.stat().st_mode & 0o077:
        raise ValueError(f"{where}: {source} must be yours alone (chmod 600 {source}), but others may read it.")
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        before = re.split(r"\bray start\b", _start(config, key, where))[0]
        modes = re.findall(r"\bRAY_AUTH_MODE=['\"]?(\w+)", before)
        if not modes or modes[-1] != "token":
            found = f"is {modes[-1]}" if modes else "is not set"
            raise ValueError(f"{where}: `{key}` must have RAY_AUTH_MODE=token before `ray start`, but it {found}.")


def check_start(config: Mapping[str, Any], where: str) -> None:
    """ValueError where the dashboard, by which jobs are started, or MLflow would listen to more than the machine."""
    start = _start(config, "head_start_ray_commands", where)
    hosts = re.findall(r"--dashboard-host[ =]['\"]?([\w.:]+)", start)
    if not hosts or not set(hosts) <= set(HERE):
        found = f"is {hosts[-1]}" if hosts else "is missing"
        raise ValueError(
            f"{where}: `head_start_ray_commands` must have --dashboard-host=127.0.0.1, which is reached by a tunnel, "
            f"but it {found}."
        )
    for command in [*commands(config), *config["head_start_ray_commands"], *config["worker_start_ray_commands"]]:
        if OPEN.search(command):
            raise ValueError(f"{where}: MLflow must listen on a private address, but the command is `{command}`.")


def check_firewall(config: Mapping[str, Any], where: str) -> None:
    """ValueError where a machine at hand would be shut out by another's firewall."""
    provider = config["provider"]
    for key in CLOSING:
        for given in _firewalls(config, key):
            try:
                let_in = [ip_network(word) for word in given]
                machines = [ip_address(machine) for machine in (provider["head_ip"], *provider["worker_ips"])]
            except ValueError as error:
                raise ValueError(f"{where}: machines and firewall.sh must have IP addresses, but {error}.") from error
            for machine in machines:
                if not any(machine in network for network in let_in):
                    raise ValueError(
                        f"{where}: firewall.sh must let every machine in, but {machine} is missing in `{key}`."
                    )


def left_open(config: Mapping[str, Any]) -> list[str]:
    """The keys whose commands would leave the study's ports open on a machine at hand, unless its owner closes them."""
    return [key for key in CLOSING if not _firewalls(config, key)]


def _firewalls(config: Mapping[str, Any], key: str) -> list[list[str]]:
    """What each firewall.sh of these commands is to let in."""
    commands = [shlex.split(command) for command in config.get(key) or []]
    return [words[2:] for words in commands if len(words) > 1 and words[1].endswith("/firewall.sh")]


def _start(config: Mapping[str, Any], key: str, where: str) -> str:
    """The command that starts Ray on the head or on a worker."""
    for command in config[key]:
        if re.search(r"\bray start\b", command):
            return str(command)
    raise ValueError(f"{where}: `{key}` must start Ray by `ray start`, but does not.")
