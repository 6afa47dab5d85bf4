"""How a stage computes: precision, memory format, compilation, repeatability; the same settings for every kind."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import torch
from torch import nn

from dehazing.stages.bounds import require

PRECISIONS = ("float32", "bfloat16")
# how often a function is compiled anew, for other shapes, levels and blocks, before it is silently no longer compiled:
# torch's 8 would leave out the fifth step of a degrader (each compiles for G and F, and what is on the way back), and
# 256 in all; no network is so often another one
RECOMPILE_LIMIT = 1024


@dataclass(frozen=True)
class Compute:
    """How training steps are computed, and when a loss counts as run away. Validation is always in float32."""

    precision: str = "float32"  # bfloat16: of forward pass and loss; weights and moments stay float32
    channels_last: bool | None = None  # memory format of the convolutions' weights; null: what was faster on a CPU
    compile: bool = False  # the networks by torch.compile; slow to start, and rounds differently
    deterministic: bool = False  # refuses what does not repeat itself to the bit on a GPU; slower there
    runaway: float = 1000.0  # an epoch's median loss above so many times the first epoch's has run away; 0: none has

    def __post_init__(self) -> None:
        require(self, not_negative=("runaway",), choices={"precision": PRECISIONS})

    def preferring(self, channels_last: bool) -> Compute:
        """With the memory format that benchmarks/steps.py found faster for a network, where none is asked for.

        It was measured on a CPU; on a GPU nothing was yet.
        """
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
    # float32 means float32: TensorFloat-32 keeps ten bits of a factor, and convolutions would take it by default
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    if compute.compile:
        torch.compiler.reset()  # what stages before were compiled to counts against the limit
        from torch._dynamo import config  # takes long to load, so only where it is needed

        config.recompile_limit = config.accumulated_recompile_limit = RECOMPILE_LIMIT


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
