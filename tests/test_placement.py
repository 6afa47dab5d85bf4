"""Shares of a GPU from what past executions held, and Ray with two pretend GPUs that packs by them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store
from studies.cluster import QUIET
from studies.placement import CONTEXT_BYTES, MARGIN, as_measured, measured, placed, share_of
from studies.planning.past import History
from studies.planning.plan import plan_of
from studies.planning.text import show
from studies.scale import Needs, Scale
from tests.planning import investigation, settings
from tests.searching import UNET

GB = 10**9
CHECKOUT = Path(__file__).parents[1]
MEASURED = Scale(num_gpus=0.5, gpu_share="measured")


@pytest.mark.parametrize(("held_gb", "share"), [(0.1, 0.125), (5.0, 0.3333), (9.0, 0.5), (9.2, 1.0), (70.0, 1.0)])
def test_a_share_is_one_over_how_many_fit_with_a_margin(held_gb: float, share: float) -> None:
    assert share_of(held_gb * GB, 24 * GB) == share
    num = int(1 / share)
    assert num == 1 or num * (held_gb * GB * MARGIN + CONTEXT_BYTES) <= 24 * GB


def publish(
    store: Store, seed: int, gpu_gb: float | None, dataset: str = "here", memory_gb: float = 1.0, **config: Any
) -> None:
    memory = {"peak_memory": int(memory_gb * GB)}
    if gpu_gb is not None:
        memory |= {"peak_gpu_memory": int(gpu_gb * GB), "gpu_memory": 24 * GB}
    execution = Execution("unet", config, dataset, seed)
    device = "cpu" if gpu_gb is None else "cuda"
    metrics = {"final": {}, "history": [], "seconds": 1.0, "device": device, "num_threads": 1, "memory": memory}
    contents = {"config.json": execution.record(), "metrics.json": metrics}
    store.publish(execution.address, {name: json.dumps(content).encode() for name, content in contents.items()})


def share(store: Store, scale: Scale = MEASURED, config: dict[str, Any] | None = None) -> float:
    study = replace(UNET, config=config or {"base": 4, "depth": 2})
    return as_measured(scale, ["unet"], {"unet": study}, store, "here").of("unet").num_gpus


def test_the_most_that_was_held_with_the_written_settings_on_such_a_series_decides(tmp_path: Path) -> None:
    store = Store(tmp_path)
    small: dict[str, Any] = {"base": 4, "depth": 2}
    assert share(store) == 0.5, "as written, while nothing was measured"
    publish(store, 1, None, **small)
    assert share(store) == 0.5, "what ran on a CPU says nothing of a GPU"
    publish(store, 2, 1.0, **small, lr=0.002)
    publish(store, 3, 5.0, **small, lr=0.003)
    assert share(store) == 0.3333
    publish(store, 4, 20.0, base=64, depth=2)
    publish(store, 5, 20.0, dataset="elsewhere", **small)
    assert share(store) == 0.3333
    assert share(store, config={"base": 64, "depth": 2}) == 1.0
    assert share(store, replace(MEASURED, gpu_share="written")) == 0.5
    assert share(store, replace(MEASURED, num_gpus=2)) == 2, "several GPUs are no share"
    assert share(store, replace(MEASURED, resources={"unet": Needs(num_gpus=0)})) == 0, "a stage without stays without"


def test_a_smaller_gpu_here_counts_and_not_the_one_that_was_measured_on(tmp_path: Path) -> None:
    store = Store(tmp_path)
    publish(store, 1, 5.0)
    found = measured(["unet"], {"unet": UNET}, History(store), "here")
    assert placed(MEASURED, found).of("unet").num_gpus == 0.3333
    assert placed(MEASURED, found, gpu_bytes=8 * GB).of("unet").num_gpus == 1


def test_the_plan_says_what_was_held_whence_the_share_is_and_where_too_little_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")  # so that no GPU is looked for here
    words = ["scale.num_gpus=0.5", "scale.gpu_share=measured", "scale.resources.unet.memory_gb=0.75"]
    asked = investigation(tmp_path, "unet", *settings(num_trials=2), *(w for word in words for w in ("--set", word)))
    before = plan_of(asked, timing=False)["resources"]
    assert before["stages"]["unet"]["gpu_share"] == "written" and before["stages"]["unet"]["held"] is None
    for seed, gpu_gb in enumerate([2.0, 5.0]):
        publish(asked.store, seed, gpu_gb, asked.series, **dict(asked.studies["unet"].config))
    found = plan_of(asked, timing=False)
    assert found["resources"]["num_gpus"] == 0.5 and found["resources"]["stages"]["unet"]["num_gpus"] == 0.3333
    show(found)
    said = capsys.readouterr().out
    line = "unet: 1 CPU and 1/3 GPU, 0.75 GB set aside, as many side by side as the cluster holds"
    assert f"{line} (2 past held up to 1 GB and 5 GB of a GPU, whence the share)" in said
    assert "unet: past executions held up to 1 GB, but `memory_gb` sets only 0.75 aside" in said


STAND_IN = '''
"""Stands in for a stage on a GPU that is not there: notes what it was given, and meets three others."""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import ray

NOTES = Path(os.environ["NOTES"])


@dataclass(frozen=True)
class Config:
    beta: float = 0.0
    lr: float = 1.0
    share_at_T: float = 0.0
    lambda_decoder: float = 0.0
    latent_noise: float = 0.0


def needs(config):
    return NEEDS


class Stage:
    def __init__(self, config, context):
        self.config, self.context, self.num_epochs, self.epoch, self.final = config, context, 1, 0, {}

    def train_epoch(self):
        gpus = ray.get_runtime_context().get_accelerator_ids()["GPU"]
        kind, seed = "restorer" if NEEDS else "hvae", self.context.seed
        note = {"kind": kind, "seed": seed, "device": self.context.device, "gpus": gpus, "begun": time.time()}
        path = NOTES / f"{kind} {seed} {self.config.beta} {self.context.upstreams}".replace("/", "_")[-150:]
        path.write_text(json.dumps(note))
        deadline = time.time() + 180
        while kind == "hvae" and len(list(NOTES.glob("hvae *"))) < 4 and time.time() < deadline:
            time.sleep(0.05)
        path.write_text(json.dumps({**note, "ended": time.time()}))
        self.epoch, self.final = 1, {"val/psnr": 30.0}
        return dict(self.final)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass

    def finish(self):
        return {}
'''

COMMON = """
import sys
from pathlib import Path
from unittest.mock import MagicMock

import ray

from dehazing.pipeline.execution import Execution
from studies import cluster, journal, tuner
from studies.confirming import confirm
from studies.executions import pipeline_of, space_of
from studies.overhead import Overhead
from studies.progress import Progress
from studies.samplers import make_sampler
from studies.scale import Needs, Scale
from studies.study import Joint, Objective, Study
from tests import tiny_series

store = tiny_series.publish(Path(sys.argv[1]))
scale = Scale(num_gpus=0.5, resources={"restorer": Needs(num_gpus=0, memory_gb=0.01)})
ray.init(address="local", num_cpus=8, num_gpus=2, include_dashboard=False, object_store_memory=256 * 2**20)
rooms = {"hvae": cluster.start(scale, False, store.place), "restorer": cluster.room(scale.of("restorer"))}
assert rooms == {"hvae": 4, "restorer": 8}, rooms
"""

SEARCH = """
betas = {"choices": [0.01, 0.02, 0.03, 0.04, 0.05]}
study = Study(
    "both", "?", "restorer", (Objective("val/psnr", "max"),), num_trials=5, sampler="grid",
    space={"share_at_T": 0.4, "lr": 1e-3, "latent_noise": 0.0, "lambda_decoder": 0.0},
    joint={"hvae": Joint(space={"beta": betas, "lr": 1e-3})},
)
opened = journal.open_study(journal.storage(store.root), "study", study, make_sampler("grid", 0, 5))
make = lambda suggestion: pipeline_of(study, "tiny", 0, {}, suggestion)
how = tuner.Search(store.root, store, scale, min(rooms.values()), MagicMock(), Progress(), Overhead())
tuner.search(study, opened, space_of(study), make, how, several_kinds=True)
assert [trial.state.name for trial in opened.get_trials()] == ["COMPLETE"] * 5
"""

CONFIRM = """
wanted = {}
for seed in range(1, 6):
    wanted["hvae", seed] = Execution("hvae", {}, "tiny", seed)
    wanted["restorer", seed] = Execution("restorer", {}, "tiny", seed, {"hvae": wanted["hvae", seed].address})
assert confirm(wanted, store, scale, rooms, {}, Progress(), Overhead()) == {}
assert all(store.has(execution.address) for execution in wanted.values())
"""


@pytest.mark.slow
@pytest.mark.parametrize("phase", [SEARCH, CONFIRM], ids=["search", "confirmation"])
def test_four_halves_fill_two_gpus_and_a_stage_without_takes_none(tmp_path: Path, phase: str) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "notes").mkdir()
    for kind, needed in {"hvae": (), "restorer": ("hvae",)}.items():
        (tmp_path / "stages" / f"{kind}.py").write_text(f"{STAND_IN}\n\nNEEDS = {needed!r}\n")
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= QUIET | {"FAULTY_STAGES": str(tmp_path / "stages"), "NOTES": str(tmp_path / "notes")}
    environment["PYTHONPATH"] = os.pathsep.join([str(CHECKOUT / "tests" / "faults"), str(CHECKOUT)])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(COMMON + phase), str(tmp_path / "results")],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    notes = [json.loads(path.read_text()) for path in (tmp_path / "notes").iterdir()]
    on_gpus = sorted((note for note in notes if note["kind"] == "hvae"), key=lambda note: note["begun"])
    others = [note for note in notes if note["kind"] == "restorer"]
    assert len(on_gpus) == len(others) == 5
    assert at_once(on_gpus) == 4, "two on each GPU, and the fifth waits"
    assert sorted(gpu for note in on_gpus[:4] for gpu in note["gpus"]) == ["0", "0", "1", "1"]
    assert {note["device"] for note in on_gpus} == {"cuda"}
    assert all(note["gpus"] == [] and note["device"] == "cpu" for note in others)


def at_once(notes: Sequence[dict[str, Any]]) -> int:
    """The most that ran at one moment."""
    return max(sum(other["begun"] <= note["begun"] < other["ended"] for other in notes) for note in notes)
