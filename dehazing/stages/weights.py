"""Published networks: weights as safetensors beside a readable architecture; nothing is unpickled.

Networks are imported by name when they are loaded: a stage then depends on the code of those that it trains itself,
and on that of its upstreams through their fingerprints, so an edited degrader trains no HVAE again.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn

from dehazing.pipeline.fitting import require_fit

NETWORKS = {
    "UNet": "dehazing.models.unet",
    "NAFNet": "dehazing.models.nafnet",
    "HVAE": "dehazing.models.hvae",
    "LatentUNet": "dehazing.models.restorer",
    "Operator": "dehazing.models.degrader",
}


def pack(network: nn.Module, architecture: Mapping[str, Any]) -> dict[str, bytes]:
    """The files that `load` reads: weights.safetensors and architecture.json (class and arguments)."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    described = {"network": type(network).__name__, "arguments": dict(architecture)}
    return {
        "weights.safetensors": safetensors.torch.save(tensors),
        "architecture.json": json.dumps(described, indent=1).encode(),
    }


def load(folder: Path, device: str = "cpu") -> Any:
    """The network of a published stage, frozen and in evaluation mode. ValueError where weights and config disagree."""
    described = json.loads((folder / "architecture.json").read_text())
    name = described["network"]
    if name not in NETWORKS:
        raise ValueError(f"{folder}: a network must be one of {', '.join(NETWORKS)}, but is {name!r}.")
    network = getattr(importlib.import_module(NETWORKS[name]), name)(**described["arguments"])
    tensors = safetensors.torch.load_file(folder / "weights.safetensors")
    require_fit(network.state_dict(), tensors, f"The network in {folder} must fit its architecture.json")
    network.load_state_dict(tensors)
    return network.requires_grad_(False).eval().to(device)


@lru_cache(maxsize=16)
def kept(folder: Path, device: str) -> Any:
    """As `load`, but the network of a folder is kept for the next one that asks; only for those that leave it as it is.

    A published folder is named by its fingerprint and never changed, so its path stands for its content.
    """
    return load(folder, device)
