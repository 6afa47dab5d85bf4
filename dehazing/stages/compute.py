"""How a stage computes: precision, memory format, compilation, repeatability; the same settings for every kind."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import torch
from torch import nn

from dehazing.stages.bounds import require

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Compute:
    """How training steps are computed, and when a loss counts as run away. Validation is always in float32."""

    precision: str = "float32"  # bfloat16: of forward pass and loss; weights and moments stay float32
    channels_last: bool | None = None  # memory format of the convolutions' weights; null: what is faster for the stage
    compile: bool = False  # the networks by torch.compile; slow to start, and rounds differently
    deterministic: bool = False  # refuses what does not repeat itself to the bit on a GPU; slower there
    runaway: float = 1000.0  # an epoch's median loss above so many times the first epoch's has run away; 0: none has

    def __post_init__(self) -> None:
        require(self, not_negative=("runaway",), choices={"precision": PRECISIONS})

    def preferring(self, channels_last: bool) -> Compute:
        """With the memory format that benchmarks/steps.py found faster for a network, where none is asked for."""
        return replace(self, channels_last=channels_last) if self.channels_last is None else self

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context of forward pass and loss."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16")


def settle(compute: Compute, device: str) -> None:
    """What belongs to the whole process, which may have built a stage with other settings before."""
    # read once, when the GPU is first used, so it is set for the stages to come as well
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(compute.deterministic)
    # the fastest algorithm may be another one in the next process
    torch.backends.cudnn.benchmark = device.startswith("cuda") and not compute.deterministic


def lay_out(module: nn.Module, compute: Compute) -> nn.Module:
    """The module, its weights in the memory format asked for.

    Weights of which a side is 1 stay as they are: their formats differ in nothing but the names of their strides.
    """
    if compute.channels_last:
        for weight in module.parameters():
            if weight.dim() == 4 and min(weight.shape) > 1:
                weight.data = weight.data.to(memory_format=torch.channels_last)
    return module


def compiled(module: nn.Module, compute: Compute) -> None:
    """Has the forward pass compiled at its first call, where that is asked for; of each network in a dict of them."""
    if compute.compile:
        for network in module.children() if isinstance(module, nn.ModuleDict) else (module,):
            network.compile()
