"""Ray's autoscaler where the cloud refuses a machine: cluster/refused.sh, on a copy of the files that it changes."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "cluster" / "refused.sh"
CHANGED = re.findall(r"^--- a/(\S+)$", SCRIPT.with_suffix(".patch").read_text(), re.MULTILINE)
MONITOR = next(name for name in CHANGED if name.endswith("monitor.py"))
pytestmark = pytest.mark.skipif(shutil.which("patch") is None, reason="it needs Debian's patch")


@pytest.fixture
def ray(tmp_path: Path) -> Path:
    """A package of this name with the installed one's files."""
    spec = importlib.util.find_spec("ray")
    assert spec is not None and spec.submodule_search_locations is not None
    folder = tmp_path / "ray"
    for name in CHANGED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(spec.submodule_search_locations[0]) / name, folder / name)
    (folder / "__init__.py").touch()
    return folder


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(folder.parent), "PATH": path}
    return subprocess.run(["bash", str(SCRIPT)], env=environment, capture_output=True, text=True, check=False)


def texts(folder: Path) -> list[str]:
    return [(folder / name).read_text() for name in CHANGED]


@pytest.mark.slow  # it imports Ray
def test_a_refused_type_comes_after_the_others_and_so_does_one_that_never_came_up(ray: Path) -> None:
    from ray.core.generated.instance_manager_pb2 import Instance, InstanceUpdateEvent

    def score(text: str, status: int) -> float:
        """What Ray's scheduler sorts by before it looks at the priority; 1 where nothing is known."""
        names: dict[str, object] = {"__name__": "monitor"}
        exec(compile(text, MONITOR, "exec"), names)  # Ray's own file, as it is and as it is changed
        monitor = names["CloudResourceMonitor"]()  # type: ignore[operator]
        monitor.notify([InstanceUpdateEvent(instance_type="gpu_spot", new_instance_status=status)])
        found: float = monitor.get_recoverable_resource_availabilities().get("gpu_spot", 1.0)
        return found

    before = (ray / MONITOR).read_text()
    assert run(ray).returncode == 0
    after = (ray / MONITOR).read_text()
    assert score(before, Instance.ALLOCATION_FAILED) == 1.0, "else Ray needs no help any more"
    assert score(after, Instance.ALLOCATION_FAILED) == score(after, Instance.ALLOCATION_TIMEOUT) == 0.0
    assert score(after, Instance.ALLOCATED) == 1.0


def test_a_refusal_says_of_which_type(ray: Path) -> None:
    assert run(ray).returncode == 0
    (text,) = (text for text in texts(ray) if "class Reconciler" in text)
    refusals = re.findall(r"new_instance_status=IMInstance\.ALLOCATION_FAILED,\n(.*)\n", text)
    assert [line.partition("=")[0].strip() for line in refusals] == ["instance_type", "instance_type"]


def test_run_again_it_changes_nothing(ray: Path) -> None:
    before = texts(ray)
    assert run(ray).returncode == 0
    once = texts(ray)
    assert run(ray).returncode == 0
    assert texts(ray) == once != before
    assert not [*ray.rglob("*.orig"), *ray.rglob("*.rej")]


def test_another_ray_is_refused_and_left_as_it_is(ray: Path) -> None:
    (ray / MONITOR).write_text((ray / MONITOR).read_text().replace("ALLOCATION_TIMEOUT", "ALLOCATION_LATE"))
    before = texts(ray)
    said = run(ray)
    assert said.returncode == 1 and "must fit Ray's autoscaler" in said.stderr
    assert texts(ray) == before
