"""What an execution runs on, and how many run side by side, before anything is started."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import psutil
import torch

from studies.scale import Scale

GB = 1e9


@dataclass(frozen=True)
class Resources:
    """Of one execution: device (of torch), CPUs, the share of a GPU, GB of memory that are set aside (0: none).

    slots: how many run side by side; None: a cluster says.
    """

    device: str
    num_cpus: int
    num_gpus: float
    slots: int | None
    memory_gb: float = 0.0


def device_of(scale: Scale) -> str:
    """The device, as torch names it, of an execution at the scale."""
    return "cuda" if scale.num_gpus else "cpu"


def asked_of_ray(scale: Scale) -> dict[str, float]:
    """What an execution at the scale asks Ray for, under Ray's names; memory in bytes."""
    asked = {"CPU": float(scale.num_cpus), "GPU": scale.num_gpus, "memory": float(int(scale.memory_gb * GB))}
    return {name: amount for name, amount in asked.items() if amount}


def num_that_fit(scale: Scale, num_cpus: float, num_gpus: float, memory_bytes: float) -> int:
    """How many executions at the scale one machine holds; shares of a GPU are never of two GPUs."""
    num = int(num_cpus // scale.num_cpus)
    if scale.num_gpus > 1:
        num = min(num, int(num_gpus // scale.num_gpus))
    elif scale.num_gpus:
        num = min(num, int(num_gpus) * int(1 / scale.num_gpus + 1e-9))
    return min(num, int(memory_bytes // (scale.memory_gb * GB))) if scale.memory_gb else num


def resources_of(scale: Scale, scale_name: str, kind: str = "") -> Resources:
    """What the scale asks for, for a stage or for all that it says nothing of.

    ValueError where this machine has not got it and RAY_ADDRESS names no cluster.
    """
    of, scale = scale.resources.get(kind), scale.of(kind)
    device = device_of(scale)
    if os.environ.get("RAY_ADDRESS"):
        return Resources(device, scale.num_cpus, scale.num_gpus, scale.num_parallel, scale.memory_gb)

    def key(name: str) -> str:
        return f"scale.{name}" if of is None or getattr(of, name) is None else f"scale.resources.{kind}.{name}"

    who = f"A trial of the scale {scale_name}" if of is None else f"A trial of {kind} at the scale {scale_name}"
    num_cpus, memory = os.cpu_count() or 1, psutil.virtual_memory()
    if scale.num_cpus > num_cpus:
        raise ValueError(
            f"{who} needs {scale.num_cpus} CPUs, but this machine has {num_cpus}: "
            f"join a cluster by RAY_ADDRESS, or add --set {key('num_cpus')}={num_cpus}."
        )
    if scale.memory_gb * GB > memory.total:
        raise ValueError(
            f"{who} needs {scale.memory_gb:g} GB of memory, but this machine has {memory.total / GB:.3g}: "
            f"join a cluster by RAY_ADDRESS, or add --set {key('memory_gb')}=0 (nothing is set aside)."
        )
    num_gpus = torch.cuda.device_count() if scale.num_gpus and torch.cuda.is_available() else 0
    if num_gpus < scale.num_gpus:
        has = f"has {num_gpus}" if num_gpus else "has none"
        needs = "The scale" if of is None else f"{kind} at the scale"
        raise ValueError(
            f"{needs} {scale_name} needs a GPU ({scale.num_gpus:g} for each trial), but this machine {has}: "
            f"join a cluster by RAY_ADDRESS, or add --set {key('num_gpus')}=0 (slow)."
        )
    slots = max(1, num_that_fit(scale, num_cpus, num_gpus, memory.available))
    slots = min(slots, scale.num_parallel or slots)
    return Resources(device, scale.num_cpus, scale.num_gpus, slots, scale.memory_gb)


def resources_of_each(scale: Scale, scale_name: str, kinds: Iterable[str]) -> dict[str, Resources]:
    """Stage → its resources; ValueError as above for the first that does not fit."""
    return {kind: resources_of(scale, scale_name, kind) for kind in kinds}
