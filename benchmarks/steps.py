"""How long a training step of every stage takes, by its parts, and how much of it is no arithmetic.

    python -m benchmarks.steps [--device cpu|cuda] [--stages unet,nafnet,hdn,hvae,restorer,degrader] [--scale NAME]
        [--batch N] [--patch PX] [--steps N] [--precisions float32,bfloat16] [--compile] [--cpu-time] [--out FILE.json]

Needs torch alone, and neither Ray nor a study: networks as large as the study files say for the scale, untrained, on
random fields (numbers change no time). For each stage, precision and memory format, two passes of `--steps` steps after
a warm-up: whole steps, and steps taken apart, where every part ends by waiting for the device. At the end, how long a
new field of `fresh_every` takes to be simulated there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import yaml

from dehazing.data.fresh import FreshFields
from dehazing.data.microscope import SimulatedConfig
from dehazing.data.series import Field, Series
from dehazing.pipeline import manifest
from dehazing.pipeline.stage import Context
from dehazing.stages import stage_module
from dehazing.stages.compute import Compute, settle
from dehazing.stages.descent import Descent
from dehazing.strict import from_mapping, to_mapping

STAGES = ("unet", "nafnet", "hdn", "hvae", "restorer", "degrader")
NEEDS = {"restorer": ("hvae",)}  # of what a timed stage builds on
STUDIES = Path(__file__).resolve().parent.parent / "studies"
NUM_WARM_UP = 5
PARTS = ("data", "forward", "backward", "optimiser")


def random_series(num_fields: int, field_px: int, T: int = 4) -> Series:
    """Noise at T + 1 levels; the last two fields are for validation and test."""
    frames = np.random.default_rng(0).normal(size=(num_fields + 2, T + 1, field_px, field_px)).astype(np.float32)
    splits = ["train"] * num_fields + ["validation", "test"]
    fields = tuple(Field(f"field {i}", split, frames[i]) for i, split in enumerate(splits))
    return Series(fields, tuple(map(float, range(1, T + 2))), "au", (0.0,) * (T + 1), (1.0,) * (T + 1))


class Stages:
    """Stages of one scale before their first epoch; what they build on is untrained too, and made once."""

    def __init__(self, series: Series, scale: str, changes: Mapping[str, Any], device: str, folder: Path):
        self.series, self.scale, self.changes, self.device, self.folder = series, scale, changes, device, folder

    def build(self, kind: str, compute: Compute) -> Any:
        """The stage, how it computes settled for the process."""
        module = stage_module(kind)
        scales = yaml.safe_load((STUDIES / f"{kind}.yaml").read_text(encoding="utf-8"))["scales"]
        asked = {**(scales[self.scale].get("config") or {}), **self.changes, "compute": compute}
        config = from_mapping(module.Config, asked, kind)
        upstreams = {role: self._published(role) for role in module.needs(config)}
        settle(compute, self.device)
        torch.manual_seed(0)
        return module.Stage(config, Context(self.series, upstreams, 0, self.device))

    def _published(self, role: str) -> Path:
        folder = self.folder / role
        if not folder.is_dir():
            upstreams = {upstream: f"{upstream}/untrained" for upstream in NEEDS.get(role, ())}
            config = {"config.json": json.dumps({"upstreams": upstreams}).encode()}
            files = {**self.build(role, Compute()).finish(), **config}
            files[manifest.NAME] = manifest.content_of(f"{role}/untrained", {})
            folder.mkdir()
            for name, content in files.items():
                (folder / name).write_bytes(content)
        return folder


class Parts:
    """Takes the steps of a stage apart, from outside: what is under autocast, `backward`, and the rest of a descent."""

    def __init__(self, wait: Callable[[], None], clock: Callable[[], float] = time.perf_counter):
        self.wait, self.clock = wait, clock
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        self.wait()
        start = self.clock()
        yield
        self.wait()
        self.seconds[part] += self.clock() - start

    @contextmanager
    def watching(self, stage: Any) -> Iterator[None]:
        """As long as this lasts, the stage's steps are taken apart."""
        backward = torch.Tensor.backward
        descents = [part for part in vars(stage).values() if isinstance(part, Descent)]

        def timed_backward(*args: Any, **kwargs: Any) -> None:
            with self.of("backward"):
                backward(*args, **kwargs)

        for descent in descents:
            vars(descent).update(autocast=self._timed_context(descent.autocast), step=self._timed_step(descent.step))
        torch.Tensor.backward = timed_backward  # type: ignore[method-assign]
        try:
            yield
        finally:
            torch.Tensor.backward = backward  # type: ignore[method-assign]
            for descent in descents:
                del vars(descent)["autocast"], vars(descent)["step"]

    def _timed_context(self, autocast: Callable[[], Any]) -> Callable[[], Any]:
        @contextmanager
        def timed() -> Iterator[None]:
            with self.of("forward"), autocast():
                yield

        return timed

    def _timed_step(self, step: Callable[..., None]) -> Callable[..., None]:
        def timed(*args: Any, **kwargs: Any) -> None:
            with self.of("step"):
                step(*args, **kwargs)

        return timed


def measure(
    stage: Any, num_steps: int, device: str, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Milliseconds of a step and of its parts (medians), and the share of it that is no arithmetic."""
    on_gpu = device.startswith("cuda")
    wait = torch.cuda.synchronize if on_gpu else (lambda: None)
    for _ in range(NUM_WARM_UP):
        stage.train_step()
    wait()
    start = time.perf_counter()
    whole = _whole_on_gpu(stage, num_steps) if on_gpu else [_seconds(stage.train_step, clock) for _ in range(num_steps)]
    mean_s = (time.perf_counter() - start) / num_steps

    rows = []
    for _ in range(num_steps):
        parts = Parts(wait, clock)
        with parts.watching(stage), parts.of("all"):
            stage.train_step()
        found = parts.seconds
        optimiser_s = found["step"] - found["backward"]
        rows.append((found["all"] - found["forward"] - found["step"], found["forward"], found["backward"], optimiser_s))
    medians = dict(zip(PARTS, (1e3 * median(column) for column in zip(*rows, strict=True)), strict=True))
    whole_ms = 1e3 * median(whole)
    outside = 1 - _busy_s(stage, num_steps) / mean_s if on_gpu else medians["data"] / sum(medians.values())
    for descent in vars(stage).values():
        if isinstance(descent, Descent):
            descent.read()  # a step that came to nothing would be no step
    return {"whole": whole_ms, **medians, "outside": outside}


def fresh_field_ms(num: int, field_px: int, device: str, clock: Callable[[], float] = time.perf_counter) -> float:
    """Milliseconds in which one of `num` new fields is drawn, imaged and exposed on the device, after a warm-up."""
    config = SimulatedConfig(field_px=field_px)
    series = random_series(1, field_px, T=len(config.pinholes_au) - 1)
    fields = FreshFields(replace(series, simulated=to_mapping(config)), device)
    generator = torch.Generator(device).manual_seed(0)

    def draw() -> None:
        fields.draw(num, generator)
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    draw()
    return 1e3 * _seconds(draw, clock) / num


def _seconds(call: Callable[[], None], clock: Callable[[], float]) -> float:
    start = clock()
    call()
    return clock() - start


def _whole_on_gpu(stage: Any, num_steps: int) -> list[float]:
    """Seconds between marks that the GPU itself passes, so that nothing waits in between."""
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(num_steps + 1)]
    marks[0].record()
    for mark in marks[1:]:
        stage.train_step()
        mark.record()
    torch.cuda.synchronize()
    return [1e-3 * a.elapsed_time(b) for a, b in itertools.pairwise(marks)]


def _busy_s(stage: Any, num_steps: int) -> float:
    """Seconds of a step in which a kernel or a copy runs on the GPU."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(num_steps):
            stage.train_step()
        torch.cuda.synchronize()
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in profile.events()
        if event.device_type == torch.autograd.DeviceType.CUDA and not getattr(event, "is_user_annotation", False)
    )
    busy_us, last = 0.0, -float("inf")
    for begin, end in spans:
        busy_us += max(0.0, end - max(begin, last))
        last = max(last, end)
    return 1e-6 * busy_us / num_steps


def report(rows: Sequence[Mapping[str, Any]]) -> str:
    """The figures as a table."""
    names = ("stage", "weights", "precision", "channels_last", "step ms", *PARTS, "not arithmetic")
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for row in rows:
        figures = [f"{row[name]:.1f}" for name in ("whole", *PARTS)]
        asked = [f"{row['weights'] / 1e6:.2f} M", row["precision"], "yes" if row["channels_last"] else "no"]
        lines.append(f"| {row['stage']} | {' | '.join([*asked, *figures])} | {100 * row['outside']:.1f} % |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steps", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--stages", default=",".join(STAGES), metavar="NAME,…")
    parser.add_argument("--scale", default="quickstart", metavar="NAME", help="whose networks; see studies/*.yaml")
    parser.add_argument("--batch", type=int, metavar="N")
    parser.add_argument("--patch", type=int, metavar="PX")
    parser.add_argument("--steps", type=int, default=30, metavar="N")
    parser.add_argument("--fields", type=int, default=8, metavar="N", help="of the training split")
    parser.add_argument("--field", type=int, default=128, metavar="PX")
    parser.add_argument("--precisions", default="float32,bfloat16", metavar="NAME,…")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--cpu-time", action="store_true", help="of all threads, where the machine is not idle")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="the figures, for the record")
    asked = parser.parse_args(arguments)
    sizes = {"batch_size": asked.batch, "patch_px": asked.patch}
    changes = {name: value for name, value in sizes.items() if value is not None}
    clock = time.process_time if asked.cpu_time else time.perf_counter
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        series = random_series(asked.fields, asked.field)
        stages = Stages(series, asked.scale, changes, asked.device, Path(folder))
        for kind, precision, last in itertools.product(
            asked.stages.split(","), asked.precisions.split(","), (False, True)
        ):
            compute = Compute(precision=precision, channels_last=last, compile=asked.compile)
            stage = stages.build(kind, compute)
            weights = sum(weight.numel() for weight in stage.descent.module.parameters())
            how = {"stage": kind, "precision": precision, "channels_last": last, "weights": weights}
            rows.append({**how, **measure(stage, asked.steps, asked.device, clock)})
            print(report(rows[-1:]).splitlines()[-1], file=sys.stderr)
    print(report(rows))
    fresh_ms = fresh_field_ms(asked.fields, asked.field, asked.device, clock)
    print(f"| a fresh field of {asked.field} px: {fresh_ms:.1f} ms |")
    if asked.out:
        on_gpu = asked.device.startswith("cuda")
        machine = torch.cuda.get_device_name() if on_gpu else f"{platform.machine()}, {torch.get_num_threads()} threads"
        record = {"machine": machine, "torch": torch.__version__, "asked": {**vars(asked), "out": str(asked.out)}}
        asked.out.write_text(json.dumps({**record, "rows": rows, "fresh_field_ms": fresh_ms}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
