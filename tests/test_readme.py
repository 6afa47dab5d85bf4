"""The README's commands, run as they stand there (at the smallest scale), and what it says about the tree."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from analysis import summary
from analysis.variants import degrader, title

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", README, flags=re.S)
COMMANDS = [line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines() if line.split("#")[0].strip()]
STUDIES = [command for command in COMMANDS if command.startswith("python -m studies")]


def test_the_readme_shows_the_two_commands_of_a_newcomer():
    assert {"make study", "make test"} <= set(COMMANDS)


def test_every_command_is_one_that_this_file_runs_or_knows():
    known = ("python -m studies ", "make study", "make test", "git clone", "cd ", "python -m venv", ".venv/bin/pip")
    assert [command for command in COMMANDS if not command.startswith(known) and command != "make lint"] == []


@pytest.mark.parametrize("target", ["study", "test", "lint", "setup"])
def test_make_knows_the_targets(target):
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_links_and_pictures_are_there():
    for target in re.findall(r"\]\(([^)#]+)\)|<img src=\"([^\"]+)\"", README):
        path = next(filter(None, target))
        assert path.startswith("http") or (ROOT / path).exists(), path


def test_the_tree_names_folders_that_are_there():
    tree = re.search(r"```text\n(dehazing/.*?)```", README, flags=re.S)
    assert tree is not None
    for name in re.findall(r"^(\S+)", tree.group(1), flags=re.M):
        assert (ROOT / name).exists(), name


def test_what_the_table_says_are_the_numbers_behind_its_figure():
    block = README[README.index(summary.BEGIN) : README.index(summary.END)]
    (figure,) = re.findall(r"!\[[^]]+\]\((docs/[^)]+)\.png\)", block)
    means = pd.read_csv(ROOT / f"{figure}.csv").set_index(["variant", "step"])["psnr"].sort_index()
    names = {(degrader(name), title(name, False)): name for name in means.index.unique("variant")}
    group, checked = "", 0
    for line in block.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| **"):
            headings = {heading: of for of, heading in summary.GROUPS.items()}
            group = "chosen" if checked == 0 else headings[cells[0].strip("*")]
        elif group and " → " in line:
            steps = means[names[group, cells[0]]]
            assert cells[1] == f"{steps.iloc[0]:.1f} → {steps.iloc[-1]:.1f}", line
            checked += 1
    assert checked >= 20


@pytest.mark.slow
def test_the_readme_s_studies_run(tmp_path):
    """In order, on one storage; `run` at the scale smoke, and without the files that only a user has."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    storage = str(tmp_path / "results")
    ran = []
    installed = (Path(sys.prefix) / "installed").exists()  # what `make setup` leaves; without it make would install
    for command in [command for command in COMMANDS if command in STUDIES or (command == "make study" and installed)]:
        words = shlex.split(command)
        if words[0] == "make":
            make = [*words, f"VENV={sys.prefix}", f"ARGS=--scale smoke --storage {storage}"]
            done = subprocess.run(make, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            continue
        if words[3] == "ui" or any("my_" in word for word in words):
            continue
        words[0] = sys.executable
        if "--scale" in words:
            words[words.index("--scale") + 1] = "smoke"
        elif words[3] in ("run", "plan", "status"):
            words += ["--scale", "smoke"]
        if words[3] == "simulate":
            words[words.index("--out") + 1] = str(tmp_path / "simulated")
        elif words[3] != "list":
            words += ["--storage", storage]
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        ran.append(words[3])
    assert "run" in ran
    assert list((tmp_path / "results").glob("*/report/index.html"))
