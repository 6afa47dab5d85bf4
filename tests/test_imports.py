"""The direction of the imports, and what a file may be called and how long it may be, read from the sources."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("dehazing", "trainables", "search_spaces", "studies", "analysis")
MAY_IMPORT = {
    "dehazing": {"dehazing"},
    "trainables": {"trainables", "dehazing"},
    "search_spaces": {"search_spaces", "dehazing.schedules", "dehazing.inference", "dehazing.strict"},
    "analysis": {"analysis", "dehazing"},
    "studies": set(PACKAGES),
}
ONLY_IN = {
    "ray": {"trainables", "studies"},
    "optuna": {"search_spaces", "studies", "analysis"},
    "mlflow": {"studies", "analysis.trials"},
}
APART = ("dehazing.models", "dehazing.data", "dehazing.losses")  # these do not import each other
FORBIDDEN_NAMES = {"base", "common", "core", "factory", "helper", "manager", "misc", "registry", "tools", "util"}
MAX_LINES = 300


def below(module, package):
    return module == package or module.startswith(package + ".")


def imported(path, module):
    """Every module that a file imports, at its top or within a function."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            # `from dehazing import losses` imports dehazing.losses: the names count as modules too
            yield from (f"{source}.{alias.name}" for alias in node.names)


def violations(root):
    found = []
    for path in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
        shown = path.relative_to(root)
        module = ".".join(shown.with_suffix("").parts).removesuffix(".__init__")
        home = module.split(".")[0]
        words = set(path.stem.split("_"))
        if words & (FORBIDDEN_NAMES | {name + "s" for name in FORBIDDEN_NAMES}):
            found.append(f"{shown}: the name says nothing of what is in it")
        if (num_lines := len(path.read_text().splitlines())) > MAX_LINES:
            found.append(f"{shown}: {num_lines} lines, at most {MAX_LINES}")
        for name in imported(path, module):
            if name.split(".")[0] in PACKAGES and not any(below(name, allowed) for allowed in MAY_IMPORT[home]):
                found.append(f"{shown}: {home} must not import {name}")
            for library, homes in ONLY_IN.items():
                if below(name, library) and not any(below(module, allowed) for allowed in homes):
                    found.append(f"{shown}: {library} only in {', '.join(sorted(homes))}")
            for one in APART:
                for other in APART:
                    if one != other and below(module, one) and below(name, other):
                        found.append(f"{shown}: {one} and {other} do not import each other")
    return found


def test_the_house_is_in_order():
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dehazing/losses.py", "from studies import study\n"),
        ("dehazing/models/unet.py", "def f():\n    import ray.tune\n"),
        ("dehazing/models/unet.py", "from ..data import series\n"),
        ("dehazing/data/series.py", "from dehazing import losses\n"),
        ("dehazing/losses.py", "from dehazing.models.unet import UNet\n"),
        ("trainables/unet.py", "import search_spaces.unet\n"),
        ("trainables/unet.py", "import mlflow\n"),
        ("search_spaces/unet.py", "from dehazing.models import unet\n"),
        ("search_spaces/unet.py", "from dehazing import models\n"),
        ("analysis/gap.py", "from studies.study import Study\n"),
        ("analysis/gap.py", "import mlflow\n"),
        ("studies/tuner_utils.py", ""),
        ("dehazing/helpers.py", ""),
        ("dehazing/long.py", "x = 1\n" * 301),
    ],
)
def test_a_planted_violation_is_found(tmp_path, name, text):
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text(text)
    found = violations(tmp_path)
    assert len(found) == 1 and found[0].startswith(name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("search_spaces/alpha.py", "import optuna\nfrom dehazing.schedules import KINDS\n"),
        ("search_spaces/alpha.py", "from dehazing import schedules\nfrom . import unet\n"),
        ("analysis/trials.py", "import mlflow\nfrom dehazing import metrics\n"),
        ("studies/tuner.py", "import ray\nimport optuna\nimport mlflow\nfrom analysis import gap\n"),
        ("trainables/trial.py", "from ray import tune\nfrom dehazing.pipeline.execute import executing\n"),
        ("dehazing/models/unet.py", "from .blocks import Block\nfrom dehazing import schedules\n"),
    ],
)
def test_what_is_allowed_is_not_found(tmp_path, name, text):
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text(text)
    assert violations(tmp_path) == []
