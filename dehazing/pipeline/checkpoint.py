"""Checkpoints of a running stage: one safetensors file each, whose name carries the digest of its content.

The tree of numbers, texts and containers is JSON in the file's header, the tensors are its body; nothing is
unpickled. A file appears whole (written aside, then renamed), so a stage that is killed at any moment leaves
the one before.
"""

from __future__ import annotations

import hashlib
import json
import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors

from dehazing.pipeline.writing import make_durable, writing

KEPT = 2

log = logging.getLogger(__name__)


def save(folder: Path, tree: Any, epoch: int) -> Path:
    """Writes a nested dict (of text or int keys), list or tuple of tensors, arrays, numbers, texts and None.

    The newest two of a folder are kept. ValueError where the folder cannot be written.
    """
    tensors: dict[str, torch.Tensor] = {}
    skeleton = json.dumps(_encoded(tree, tensors, "state"))
    content = safetensors.save(tensors, {"tree": skeleton})
    digest = hashlib.sha256(content).hexdigest()[:16]
    path = folder / f"epoch-{epoch:06d}-{digest}.safetensors"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob("*.tmp"):
            leftover.unlink()
        aside = path.with_suffix(".tmp")
        try:
            aside.write_bytes(content)
            make_durable(aside)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
        for other in folder.glob(f"epoch-{epoch:06d}-*.safetensors"):
            if other != path:
                other.unlink()
        for old in _files(folder)[:-KEPT]:
            old.unlink()
    return path


def copied(tree: Any) -> Any:
    """A tree of its own, whose tensors stay on their device; `copy.deepcopy` takes eight times as long."""
    if isinstance(tree, torch.Tensor):
        return tree.detach().clone()
    if isinstance(tree, np.ndarray):
        return tree.copy()
    if isinstance(tree, dict):
        return {key: copied(entry) for key, entry in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(map(copied, tree))
    return tree


def latest(folder: Path) -> Any | None:
    """The newest tree that can be read, its tensors on the CPU, or None; damaged files are removed, aloud."""
    for path in reversed(_files(folder)):
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest()[:16] == path.stem.rsplit("-", 1)[1]:
            try:
                return _read(content)
            except (SafetensorError, KeyError) as error:
                raise ValueError(f"{path} must be a checkpoint of this program, but is not: {error}.") from error
        log.warning("The checkpoint %s is damaged and removed; going on from the one before.", path)
        path.unlink()
    return None


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*-*.safetensors"))  # oldest first


def _read(content: bytes) -> Any:
    (length,) = struct.unpack("<Q", content[:8])
    skeleton = json.loads(content[8 : 8 + length])["__metadata__"]["tree"]
    return _decoded(json.loads(skeleton), safetensors.load(content))


def _encoded(value: Any, tensors: dict[str, torch.Tensor], where: str) -> Any:
    """JSON for `value`; a leaf with elements becomes a numbered entry of `tensors`."""
    if isinstance(value, torch.Tensor):
        return {"tensor": _kept(value, tensors)}
    if isinstance(value, (np.ndarray, np.generic)) and not isinstance(value, (float, str)):
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        return {kind: _kept(torch.from_numpy(np.array(value)), tensors)}
    if isinstance(value, dict):
        for key in value:
            assert isinstance(key, str) or type(key) is int, f"{where}: keys are text or whole numbers, not {key!r}"
        return {"dict": [[key, _encoded(entry, tensors, f"{where}[{key!r}]")] for key, entry in value.items()]}
    if isinstance(value, (list, tuple)):
        entries = [_encoded(entry, tensors, f"{where}[{index}]") for index, entry in enumerate(value)]
        return {"tuple": entries} if isinstance(value, tuple) else entries
    assert value is None or isinstance(value, (bool, int, float, str)), f"{where} cannot be kept: {value!r}"
    return value


def _kept(tensor: torch.Tensor, tensors: dict[str, torch.Tensor]) -> str:
    key = str(len(tensors))
    tensors[key] = tensor.detach().cpu().contiguous().clone()  # safetensors refuses shared memory
    return key


def _decoded(node: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(node, list):
        return [_decoded(entry, tensors) for entry in node]
    if not isinstance(node, dict):
        return node
    ((kind, content),) = node.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "array":
        return tensors[content].numpy()
    if kind == "scalar":
        return tensors[content].numpy()[()]
    if kind == "tuple":
        return tuple(_decoded(entry, tensors) for entry in content)
    return {key: _decoded(entry, tensors) for key, entry in content}
