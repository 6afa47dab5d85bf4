"""What an execution asks for, by stage: how many fit, what is refused, and that no fingerprint depends on it."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from dehazing.pipeline.execution import Execution
from studies import resources
from studies.resources import asked_of_ray, num_that_fit, resources_of, resources_of_each
from studies.scale import Needs, Scale, read_scale, scale_names
from tests.searching import JOINT, executions, made, publish

GB = 10**9


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.parametrize(
    ("scale", "num"),
    [
        (Scale(num_cpus=2), 8),
        (Scale(num_gpus=0.5), 4),
        (Scale(num_gpus=0.3333), 6),
        (Scale(num_gpus=0.6), 2),  # one on each: the rests of two GPUs are no GPU
        (Scale(num_gpus=2), 1),
        (Scale(num_gpus=0.25, num_cpus=4), 4),
        (Scale(memory_gb=30), 2),
        (Scale(memory_gb=30, num_gpus=1), 2),
        (Scale(num_gpus=3), 0),
    ],
)
def test_a_machine_of_16_cpus_2_gpus_and_64_gb_holds(scale: Scale, num: int) -> None:
    assert num_that_fit(scale, 16, 2, 64 * GB) == num


def test_a_stage_has_what_the_scale_says_of_it_and_else_what_it_says_of_all() -> None:
    settings = {"num_cpus": 2, "num_gpus": 0.5, "resources": {"hvae": {"num_gpus": 0, "memory_gb": "1.5"}}}
    scale = read_scale("smoke", settings)
    assert scale.of("unet").num_gpus == 0.5 and scale.of("attribution").num_cpus == 2
    assert asked_of_ray(scale.of("unet")) == {"CPU": 2, "GPU": 0.5}
    assert asked_of_ray(scale.of("hvae")) == {"CPU": 2, "memory": 1.5 * GB}
    assert scale.of("hvae").seeds == scale.seeds


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resources": {"hvea": {}}}, "there is no stage `hvea`; the nearest is `hvae`"),
        ({"resources": {"hvae": {"num_gpu": 1}}}, "unknown key `num_gpu`; the nearest valid key is `num_gpus`"),
        ({"resources": {"hvae": {"num_cpus": 0}}}, "`hvae`: `1 <= num_cpus"),
        ({"resources": {"hvae": {"memory_gb": -1}}}, "`hvae`: `0 <= memory_gb"),
        ({"num_gpus": 1.5}, "must be a share of one GPU or a whole number, but got 1.5"),
        ({"gpu_share": "auto"}, "must be one of written, measured, but is 'auto'"),
    ],
)
def test_what_no_stage_can_have_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=r"^scale `smoke`") as raised:
        read_scale("smoke", settings)
    assert message in str(raised.value)


def test_a_machine_that_lacks_it_for_one_stage_says_which_and_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    has = psutil.virtual_memory().total / GB
    lacking = {
        "num_cpus": (4096, r"hvae at the scale smoke needs 4096 CPUs.*--set scale\.resources\.hvae\.num_cpus="),
        "memory_gb": (has + 1, r"hvae at the scale smoke needs .* GB of memory.*scale\.resources\.hvae\.memory_gb=0"),
        "num_gpus": (1, r"needs a GPU \(1 for each trial\), but this machine has none.*resources\.hvae\.num_gpus=0"),
    }
    for name, (value, message) in lacking.items():
        scale = Scale(resources={"hvae": Needs(**{name: value})})  # type: ignore[arg-type]
        assert resources_of(scale, "smoke", "unet").device == "cpu"
        with pytest.raises(ValueError, match=message):
            resources_of_each(scale, "smoke", ["unet", "hvae"])
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    elsewhere = resources_of(Scale(num_gpus=1, memory_gb=1000), "cluster", "hvae")
    assert elsewhere == resources.Resources("cuda", 1, 1, None, 1000), "a cluster says what it has"


def test_each_piece_of_work_is_placed_by_its_stage_and_keeps_its_fingerprint(tmp_path: Path) -> None:
    scale = Scale(num_cpus=2, num_gpus=0.5, resources={"restorer": Needs(num_cpus=3, num_gpus=0, memory_gb=2)})
    placed, found = made(tmp_path / "placed", JOINT, scale=scale), {}
    plain = made(tmp_path / "plain", JOINT)
    for search in (plain, placed):
        work = search.suggest("a")
        found[search] = executions(work)
    assert found[plain] == found[placed] and isinstance(found[plain][0], Execution)
    assert work["resources"] == {"CPU": 2, "GPU": 0.5}
    assert (work["device"], work["num_threads"]) == ("cuda", 2) and work["executions"]
    (hvae,) = found[placed]
    assert hvae.kind == "hvae"
    publish(tmp_path / "placed", hvae, **{"val/ceiling": 30.0})
    placed.on_trial_complete("a", {"done": True})
    config = placed.suggest("b")
    assert executions(config)[0].kind == "restorer"
    assert config["resources"] == {"CPU": 3, "memory": 2 * GB} and config["device"] == "cpu"
    assert config["num_threads"] == 3


@pytest.mark.parametrize("name", scale_names())
def test_every_shipped_scale_places_every_stage(name: str) -> None:
    scale = read_scale(name)
    for kind in ("unet", "hvae", "iterative", "attribution"):
        assert num_that_fit(scale.of(kind), 64, 8, 256 * GB) >= 1
