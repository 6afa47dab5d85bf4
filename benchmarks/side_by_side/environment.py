"""The environment that CAREamics runs in: it needs torchvision, and so another torch than ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = ("careamics==0.3.5", "torch==2.11.0", "torchvision==0.26.0")
_NAMES = [requirement.split("==")[0] for requirement in REQUIREMENTS]
_VERSIONS = f"from importlib.metadata import version; print(*(f'{{n}}=={{version(n)}}' for n in {_NAMES}))"


def default_folder() -> Path:
    """Where the environment lies unless another place is named: in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "iterative-dehazing-study" / "careamics"


def ensure(folder: Path) -> Path:
    """The interpreter of an environment that has what is required, made there (about 5 GB) where it is not.

    ValueError where the folder holds something else.
    """
    python = folder / "bin" / "python"
    if python.is_file() and fits(python):
        return python
    if folder.exists() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").is_file():
        raise ValueError(f"--env must be a new or empty folder, or an environment, but {folder} holds other files.")
    print(f"installing {', '.join(REQUIREMENTS)} into {folder}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    subprocess.run(
        [python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", *REQUIREMENTS], check=True
    )
    return python


def fits(python: Path) -> bool:
    """Whether the environment of an interpreter has the versions that are required, local labels aside."""
    asked = subprocess.run([python, "-c", _VERSIONS], capture_output=True, text=True, check=False)
    found = {requirement.split("+")[0] for requirement in asked.stdout.split()}
    return asked.returncode == 0 and found == set(REQUIREMENTS)
