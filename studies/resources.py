"""What a trial runs on, and how many run side by side, before anything is started."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from studies.scale import Scale


@dataclass(frozen=True)
class Resources:
    """Of one trial: device (of torch), CPUs, the share of a GPU. slots: trials side by side; None: a cluster says."""

    device: str
    num_cpus: int
    num_gpus: float
    slots: int | None


def resources_of(scale: Scale, scale_name: str) -> Resources:
    """What the scale asks for; ValueError where this machine has not got it and RAY_ADDRESS names no cluster."""
    device = "cuda" if scale.num_gpus else "cpu"
    if os.environ.get("RAY_ADDRESS"):
        return Resources(device, scale.num_cpus, scale.num_gpus, scale.num_parallel)
    num_cpus = os.cpu_count() or 1
    if scale.num_cpus > num_cpus:
        raise ValueError(
            f"A trial of the scale {scale_name} needs {scale.num_cpus} CPUs, but this machine has {num_cpus}: "
            f"join a cluster by RAY_ADDRESS, or add --set scale.num_cpus={num_cpus}."
        )
    slots = num_cpus // scale.num_cpus
    if scale.num_gpus:
        num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if num_gpus < scale.num_gpus:
            has = f"has {num_gpus}" if num_gpus else "has none"
            raise ValueError(
                f"The scale {scale_name} needs a GPU ({scale.num_gpus:g} for each trial), but this machine {has}: "
                "join a cluster by RAY_ADDRESS, or add --set scale.num_gpus=0 (slow)."
            )
        slots = min(slots, int(num_gpus / scale.num_gpus))
    return Resources(device, scale.num_cpus, scale.num_gpus, min(slots, scale.num_parallel or slots))
