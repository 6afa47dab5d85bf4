"""Pretend hosts on this machine, to be lost, unplugged and reached by SSH as others are.

Each is a set of namespaces: an address on a bridge that leads nowhere else, a host name, processes, a disk that lies
copy-on-write over this machine's, and an sshd. Needs root and Debian's iproute2, util-linux, nftables, openssh-server
and rsync.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path

import psutil

INIT = Path(__file__).with_name("host.sh")
PROGRAMS = ("ip", "nsenter", "unshare", "sshd", "ssh", "ssh-keygen", "rsync", "mount", "nft")
PACKAGES = "iproute2, util-linux, nftables, openssh-server, rsync"
NET, BRIDGE, PREFIX = "10.98.0", "dehazing0", "dh"  # this machine is .1 there
FIRST = 10  # of the net's addresses: the head's
COMES_UP_IN_S = 120.0
DISK = "2g"


def why_not() -> str:
    """Why there can be no such hosts here, in one sentence, or ""."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "pretend hosts need Linux and root."
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        return (
            f"pretend hosts need {', '.join(missing)} (Debian: iproute2, util-linux, openssh-server, rsync, nftables)."
        )
    probe = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True, text=True)
    return f"pretend hosts need namespaces: {probe.stderr.strip()}" if probe.returncode else ""


@dataclass(frozen=True)
class Net:
    """A bridge that leads nowhere else, this machine's address on it, and what the hosts there are called."""

    here: IPv4Interface
    bridge: str
    prefix: str


LOCAL = Net(IPv4Interface(f"{NET}.1/24"), BRIDGE, PREFIX)


@dataclass(frozen=True)
class Host:
    """One of them; number 0 is the head by custom."""

    bed: Bed
    number: int
    address: str  # on the bridge

    @property
    def name(self) -> str:
        """Its host name, and that of its network namespace."""
        return f"{self.bed.net.prefix}{self.number}"

    @property
    def folder(self) -> Path:
        """Where it keeps what outlives it: its disk, and what its first process said."""
        return self.bed.folder / self.name

    @property
    def _link(self) -> str:
        return f"{self.bed.net.prefix}v{self.number}"

    def boot(self, *, keeps_disk: bool = False) -> None:
        """Start it and wait for its sshd; RuntimeError where that does not answer."""
        self.folder.mkdir(parents=True, exist_ok=True)
        disk = self.folder / "disk"
        disk.mkdir(exist_ok=True)
        if not keeps_disk and disk.is_mount():
            _run("umount", str(disk))
        if not disk.is_mount():  # not in the host's own namespaces, which end with its power
            _run("mount", "-t", "tmpfs", "-o", f"size={DISK},mode=755", "disk", str(disk))
        if not Path(f"/run/netns/{self.name}").exists():
            _run("ip", "netns", "add", self.name)
            _run("ip", "link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", self.name)
            _run("ip", "link", "set", self._link, "master", self.bed.net.bridge)
            address = f"{self.address}/{self.bed.net.here.network.prefixlen}"
            _run("ip", "-n", self.name, "addr", "add", address, "dev", "eth0")
            for device in ("lo", "eth0"):
                _run("ip", "-n", self.name, "link", "set", device, "up")
        self.plug()
        words = ["nsenter", f"--net=/run/netns/{self.name}", "unshare", "--mount", "--uts", "--ipc", "--pid", "--fork"]
        words += ["--kill-child", "--mount-proc", "bash", str(INIT), str(self.folder), self.name, self.address]
        words += [str(self.bed.shared or ""), self.bed.path, sys.base_prefix]
        with (self.folder / "console.log").open("w") as console:
            process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=console, stderr=console, start_new_session=True, text=True
            )
            assert process.stdin is not None
            process.stdin.write(self.bed.names())
            process.stdin.close()
        (self.folder / "pid").write_text(str(process.pid))
        deadline_s = time.monotonic() + COMES_UP_IN_S
        while not self.is_up():
            if time.monotonic() > deadline_s or process.poll() is not None:
                said = (self.folder / "console.log").read_text()
                raise RuntimeError(f"{self.name} must come up within {COMES_UP_IN_S:g} s, but said: {said}")
            time.sleep(0.1)

    def ssh(self, command: str, *, check: bool = True, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command there."""
        words = ["ssh", *self.bed.ssh_options, f"root@{self.address}", command]
        return subprocess.run(words, capture_output=True, text=True, check=check, timeout=timeout_s)

    def is_up(self) -> bool:
        """Whether it can be logged into."""
        return self.ssh("true", check=False).returncode == 0

    def unplug(self) -> None:
        """Only the cable: what runs there goes on."""
        _run("ip", "link", "set", self._link, "down")

    def plug(self) -> None:
        """The cable again."""
        _run("ip", "link", "set", self._link, "up")

    def cut_power(self) -> None:
        """Nobody is told: the link is down before the processes end."""
        self.unplug()
        self.crash()

    def crash(self) -> None:
        """Every process is killed; the link stays, so whoever talks to it is told at once."""
        with suppress(OSError, ValueError, psutil.NoSuchProcess):
            process = psutil.Process(int((self.folder / "pid").read_text()))
            for child in process.children():  # the first process of the host: the kernel kills the others with it
                child.send_signal(signal.SIGKILL)
            process.kill()
            psutil.wait_procs([process], timeout=10)
        (self.folder / "pid").unlink(missing_ok=True)

    @property
    def is_off(self) -> bool:
        """Whether its power was cut, or it never started."""
        return not (self.folder / "pid").exists()

    def remove(self) -> None:
        """End it, its disk included."""
        self.crash()
        _run("ip", "netns", "del", self.name, check=False)
        _run("ip", "link", "del", self._link, check=False)
        _run("umount", "--lazy", str(self.folder / "disk"), check=False)


class Bed:
    """A bridge with hosts on it; a context manager that leaves nothing behind.

    folder: a new one, which becomes a file system of its own. shared: a folder that every host sees as /shared, if any.
    """

    def __init__(self, folder: Path, shared: Path | None, num_hosts: int, net: Net = LOCAL):
        self.folder, self.shared, self.net = folder, shared, net
        first = net.here.network[FIRST]
        self.hosts = [Host(self, number, str(first + number)) for number in range(num_hosts)]
        self.key = folder / "key"
        self.path = f"{Path(sys.executable).parent}:/usr/sbin:/sbin"
        options = {"StrictHostKeyChecking": "no", "UserKnownHostsFile": "/dev/null", "LogLevel": "ERROR"}
        options |= {"ConnectTimeout": "5", "IdentitiesOnly": "yes"}
        self.ssh_options = ["-i", str(self.key), *(f"-o{name}={value}" for name, value in options.items())]

    def __enter__(self) -> Sequence[Host]:
        self._lock = self.folder.with_suffix(".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RuntimeError("One bed may stand on a machine at a time, but there is one.") from error
        self._remove()
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.shared is not None:
            self.shared.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", "mode=755", self.net.prefix, str(self.folder))
        try:
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.net.prefix, "-f", str(self.key))
            bridge = self.net.bridge
            _run("ip", "link", "add", bridge, "type", "bridge")
            _run("ip", "addr", "add", str(self.net.here), "dev", bridge)
            _run("ip", "link", "set", bridge, "up")
            for host in self.hosts:
                host.boot()
        except BaseException:
            self._remove()
            raise
        return self.hosts

    def __exit__(self, *_: object) -> None:
        self._remove()
        self._lock.close()

    def add(self, address: str) -> Host:
        """One more host, at an address of the bridge; not yet started."""
        host = Host(self, len(self.hosts), address)
        self.hosts.append(host)
        return host

    def names(self) -> str:
        """/etc/hosts of every host."""
        return "127.0.0.1 localhost\n" + "".join(f"{host.address} {host.name}\n" for host in self.hosts)

    def _remove(self) -> None:
        for host in self.hosts:
            host.remove()
        _run("ip", "link", "del", self.net.bridge, check=False)
        if self.folder.is_mount():
            _run("umount", "--lazy", str(self.folder))


def _run(*words: str, check: bool = True) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(words)} must work, but said: {done.stderr.strip()}")
