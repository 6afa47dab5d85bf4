"""A trial without arithmetic: it sleeps, and reports, saves and publishes as a degrader does. Nothing here needs torch.

A process that imports torch takes hundreds of MiB, so that 32 of them would measure the machine's memory instead.
"""

from __future__ import annotations

import json
import math
import os
import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from dehazing.pipeline.lease import lease
from dehazing.pipeline.store import open_store
from trainables.node import require_alike
from trainables.reused import Reused

SPREAD = 0.5  # of the durations' logarithm
KILOBYTES = 100  # of a checkpoint and of the weights
MEAN_S = "SIMULATED_MEAN_S"  # the environment's name for the mean duration
LOG = "SIMULATED_LOG"  # and for a file that gets one line per execution
ACTORS = "SIMULATED_ACTORS"  # and for how many of them begin together
ALL_UP_IN_S = 900.0
EPOCH = (
    *("train/loss", "train/loss_gan_G", "train/loss_gan_F", "train/loss_cyc", "train/loss_cos", "train/loss_pair"),
    *("train/loss_D_X", "train/loss_D_Y", "val/psnr_direct", "val/psnr_ri_direct", "val/one_step_error"),
)
FINAL = {
    "hvae": ("val/ceiling", "val/ceiling_frame", "val/smoothness"),
    "restorer": ("val/psnr", "val/psnr_ri", "val/latent_error"),
    "degrader": EPOCH[-3:],
}


class SimulatedTrial(Reused):
    """As `trainables.trial.Trial` to whoever calls it: the same configuration, lease, files and results."""

    def setup(self, config: Mapping[str, Any]) -> None:
        self._spent = dict.fromkeys(("arithmetic", "loading", "store", "waiting"), 0.0)
        self._epochs = self._working(config)

    def step(self) -> dict[str, Any]:
        memory_mib = psutil.Process().memory_info().rss / 2**20
        figures = {"spent": dict(self._spent), "process/memory_mib": memory_mib}
        for metrics in self._epochs:
            return {**metrics, **figures}
        return {**figures, "done": True}

    def cleanup(self) -> None:
        self._epochs.close()  # type: ignore[attr-defined]

    def _working(self, config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        ((address, execution),) = config["executions"].items()
        store, kind, num_epochs = open_store(config["store"]), execution["kind"], execution["config"]["num_epochs"]
        if kind == "degrader":
            wait_for_all_actors()
        begun_s = time.time()
        require_alike(config["alike"], config["store"])
        if store.has(address):
            return
        draw = random.Random(address)
        nominal_s = duration_s(address, float(os.environ[MEAN_S]))
        metrics: dict[str, Any] = {}
        history = []
        with lease(store, address, wait_s=0.0) as held:
            for epoch in range(1, num_epochs + 1):
                if metrics:
                    yield metrics
                time.sleep(nominal_s / num_epochs)
                self._spent["arithmetic"] += nominal_s / num_epochs
                values = {name: draw.uniform(0.1, 40.0) for name in EPOCH}
                metrics = {"epoch": epoch, "num_epochs": num_epochs, **values, "seconds": nominal_s / num_epochs}
                history.append(metrics)
                if epoch == num_epochs // 2:
                    held.check()
                    (store.partial(address) / f"{epoch:06d}.safetensors").write_bytes(draw.randbytes(1000 * KILOBYTES))
                    store.save_partial(address)
            final = {name: draw.uniform(0.1, 40.0) for name in FINAL[kind]}
            how = {"seconds": time.time() - begun_s, "device": "cpu", "num_threads": 1}
            records = {"config.json": execution, "metrics.json": {"final": final, "history": history, **how}}
            files = {name: json.dumps(content, indent=1).encode() for name, content in records.items()}
            store.publish(address, {**files, "weights.safetensors": draw.randbytes(1000 * KILOBYTES)}, held.check)
            store.clear_partial(address)
        line = {"address": address, "begun": begun_s, "nominal_s": nominal_s, "at": time.time(), "pid": os.getpid()}
        with open(os.environ[LOG], "a") as log:  # noqa: PTH123  # one write, so lines stay whole
            log.write(json.dumps(line) + "\n")
        yield metrics


def wait_for_all_actors() -> None:
    """Return once as many actors were here as begin together; RuntimeError where they do not come.

    A trial that ended before would have its actor given to one whose own is still starting, which Tune then stops.
    """
    folder = Path(f"{os.environ[LOG]}.actors")
    folder.mkdir(exist_ok=True)
    (folder / str(os.getpid())).touch()
    until_s = time.monotonic() + ALL_UP_IN_S
    while (num := len(list(folder.iterdir()))) < int(os.environ[ACTORS]):
        if time.monotonic() > until_s:
            raise RuntimeError(f"{os.environ[ACTORS]} actors must start within {ALL_UP_IN_S:g} s, but {num} did.")
        time.sleep(0.2)


def duration_s(address: str, mean_s: float) -> float:
    """Seconds of an execution: log-normal with this mean, always the same for the same address."""
    return mean_s * math.exp(random.Random(f"{address} seconds").gauss(0.0, SPREAD) - SPREAD**2 / 2)
