"""Whether every machine of a cluster installs the same: what the commands of a cluster file give to pip and uv."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from studies.cluster import CODE

CONSTRAINTS = CODE / "constraints.txt"
PIP = re.compile(r"pip\d*(\.\d+)?")
SEPARATOR = re.compile(r"[;&|()<>]+")
TAKES_VALUE = {"-p", "--python", "-i", "--index-url", "--extra-index-url", "-f", "--find-links", "-t", "--target"}
TAKES_VALUE |= {"--extra", "--group"}
CONSTRAINT = {"-c", "--constraint", "--constraints"}
WHOLE = {"-r", "--requirement", "--requirements", "-e", "--editable"}  # whose versions only constraints say
PYTHON = re.compile(r"(?:--python[ =]|uv python install |conda create .*python=)(\d[\w.]*)")


def check_pins(config: Mapping[str, Any], where: str) -> None:
    """ValueError for a package or a Python without its exact version, or with another one than constraints.txt has."""
    pinned = _pinned()
    installed: set[str] = set()
    for command in commands(config):
        for python in PYTHON.findall(command):
            if python.count(".") != 2:
                raise ValueError(f"{where}: Python must be pinned to a full version such as 3.11.7, but is {python}.")
        for words in _installs(command, where):
            installed |= _check_install(words, pinned, config, where)
    if installed and "ray" not in installed:
        raise ValueError(f"{where}: `setup_commands` must install ray=={pinned['ray']}, but name no ray.")


def commands(config: Mapping[str, Any]) -> list[str]:
    """Every set-up command of a completed cluster file, each once."""
    keys = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")
    lists = [config.get(key) or [] for key in keys]
    for node in config["available_node_types"].values():
        lists += [node.get(key) or [] for key in ("initialization_commands", "worker_setup_commands")]
    return list(dict.fromkeys(command for each in lists for command in each))


def _pinned() -> dict[str, str]:
    lines = (line.partition("#")[0].strip() for line in CONSTRAINTS.read_text().splitlines())
    pairs = (line.partition("==") for line in lines if line)
    return {canonicalize_name(name): version for name, _, version in pairs}


def _installs(command: str, where: str) -> Iterator[list[str]]:
    """What follows each `pip install` of a shell command."""
    reader = shlex.shlex(command, posix=True, punctuation_chars=True)
    reader.whitespace_split, reader.commenters = True, ""
    try:
        words = list(reader)
    except ValueError as error:
        raise ValueError(f"{where}: the command `{command}` is no shell: {error}.") from error
    for i in range(1, len(words)):
        if words[i] == "install" and PIP.fullmatch(Path(words[i - 1]).name):
            end = next((j for j in range(i, len(words)) if SEPARATOR.fullmatch(words[j])), len(words))
            yield words[i + 1 : end]


def _check_install(words: list[str], pinned: Mapping[str, str], config: Mapping[str, Any], where: str) -> set[str]:
    """The names of the packages that it installs by version."""
    names, wholes, constrained = set(), [], False
    rest = iter(words)
    for word in rest:
        option, equals, value = word.partition("=")
        if option in CONSTRAINT | WHOLE | TAKES_VALUE:
            value = value if equals else next(rest, "")
            if option in CONSTRAINT:
                _check_constraints(value, config, where)
                constrained = True
            elif option in WHOLE:
                wholes.append(value)
        elif not word.startswith("-"):
            names.add(_check_requirement(word, pinned, where))
    if wholes and not constrained:
        raise ValueError(f"{where}: what {wholes[0]} asks for must be pinned by `-c constraints.txt`, but is not.")
    return names


def _check_requirement(word: str, pinned: Mapping[str, str], where: str) -> str:
    try:
        requirement = Requirement(word)
    except InvalidRequirement as error:
        raise ValueError(f"{where}: a package must be installed as name==version, but one is `{word}`.") from error
    name, package = canonicalize_name(requirement.name), requirement.name
    exact = re.fullmatch(r"==([^*,]+)", str(requirement.specifier))
    if exact is None or requirement.url:
        wanted = f"{package}=={pinned.get(name, 'VERSION')}"
        raise ValueError(f"{where}: {package} must be pinned ({wanted}), but is installed as `{word}`.")
    if exact.group(1) != pinned.get(name, exact.group(1)):
        wanted = f"{pinned[name]}, as in constraints.txt"
        raise ValueError(f"{where}: {package} must be {wanted}, but is {exact.group(1)}.")
    return name


def _check_constraints(remote: str, config: Mapping[str, Any], where: str) -> None:
    source = config["file_mounts"].get(remote)
    if source is None:
        raise ValueError(f"{where}: `file_mounts` must bring {remote}, which pip is told to take, but does not.")
    path = Path(source).expanduser()
    if path.exists() and path.read_bytes() != CONSTRAINTS.read_bytes():
        raise ValueError(f"{where}: {remote} must be the checkout's constraints.txt, but {source} is another file.")
