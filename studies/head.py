"""The head of a cluster as SSH reaches it: at the address, as the user and with the key that Ray has for it."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import yaml

from studies.cluster_file import check

ANSWERS_WITHIN_S = 60.0
SCRIPT_ENDS_WITHIN_S = 3600.0  # it may read a whole series
# as Ray's launcher calls ssh: addresses are used again by machines with other keys; a lost connection ends it
OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "no",
    "UserKnownHostsFile": os.devnull,
    "LogLevel": "ERROR",
    "IdentitiesOnly": "yes",
    "ControlPath": "none",  # the process that is started is the connection
    "ExitOnForwardFailure": "yes",
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "ConnectTimeout": "30",
}


@dataclass(frozen=True)
class Head:
    """Where it is and who logs in; `file` is the cluster's, as messages name it."""

    file: Path
    address: str
    user: str
    key: str | None = None
    proxy: str | None = None  # ssh's ProxyCommand

    @property
    def place(self) -> str:
        """As ssh and rsync name it."""
        return f"{self.user}@{self.address}"

    def ssh(self) -> list[str]:
        """The words of `ssh`, but for the place and what it is to do there."""
        options = {**OPTIONS, **({"ProxyCommand": self.proxy} if self.proxy else {})}
        key = ["-i", str(Path(self.key).expanduser())] if self.key else []
        return ["ssh", *key, *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]

    def rsh(self) -> str:
        """The same for rsync, which takes words apart by spaces, with quotes around what holds some."""
        return " ".join(f"'{word}'" if " " in word else word for word in self.ssh())

    def says(self, command: str) -> str:
        """What a command says there; ValueError where it fails, or there is no way in."""
        return self._done(command, None, ANSWERS_WITHIN_S, f"answer `{command}` by SSH")

    def runs(self, script: str, words: Sequence[str]) -> str:
        """The last line that a bash script says there; words: its $1, $2, … ValueError as `says`."""
        command = f"bash -s -- {shlex.join(words)}"
        return last(self._done(command, script, SCRIPT_ENDS_WITHIN_S, "do what it is asked by SSH"))

    def _done(self, command: str, given: str | None, within_s: float, must: str) -> str:
        words = [*self.ssh(), self.place, command]
        try:
            done = subprocess.run(
                words, input=given or "", capture_output=True, text=True, timeout=within_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise ValueError(f"The head of {self.file} must answer within {within_s:g} s, but is silent.") from error
        if done.returncode:
            raise ValueError(f"The head of {self.file} must {must}, but {last(done.stderr)}")
        return done.stdout


def last(said: str) -> str:
    """What a program said last, as the end of a sentence."""
    return (said.strip().splitlines() or ["it said nothing."])[-1]


def prepared(file: Path) -> dict[str, Any]:
    """The checked cluster file as Ray completes it, and this process made ready to ask its head."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # before Ray reads it, which it does once
    config = check(file)
    if config["provider"]["type"] == "local":
        os.environ.setdefault("RAY_UP_enable_autoscaler_v2", "0")
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):  # either would lead elsewhere
        os.environ.pop(name, None)
    return config


def head_of(file: Path) -> Head:
    """The head that runs, by what Ray's launcher knows of the cluster; ValueError where there is none.

    file: that the cluster was started with.
    """
    from ray.autoscaler.sdk import bootstrap_config, get_head_node_ip

    try:
        with redirect_stdout(StringIO()):  # what it has looked at
            auth = bootstrap_config(yaml.safe_load(file.read_text()), no_config_cache=True)["auth"]
            address = get_head_node_ip(str(file))
    except Exception as error:  # of the launcher, and of whichever library it asks the cloud by
        raise ValueError(
            f"The head of {file} must run, as `ray up` starts it, but Ray's launcher says: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
    if auth.get("ssh_proxy_use_node_id"):
        raise ValueError(f"{file}: the head must be reached by its address, but `auth.ssh_proxy_use_node_id` is set.")
    return Head(file, address, auth["ssh_user"], auth.get("ssh_private_key"), auth.get("ssh_proxy_command"))
