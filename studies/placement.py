"""Which share of a GPU a stage gets: what past executions of it held of one, where that was measured.

A share is the most memory that executions of the stage held, with a margin, over that of a GPU, rounded up to 1, 1/2,
1/3, 1/4, …, so that trials fill a GPU without a rest. What still does not fit is tried once more, alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from dehazing.pipeline.store import Store
from studies.planning.past import History
from studies.resources import GB
from studies.scale import Needs, Scale
from studies.study import Study

MARGIN = 1.25  # times the most that was measured: other settings of a search may need more
CONTEXT_BYTES = 0.6 * GB  # of CUDA itself in every process, which torch does not count; an assumption
MOST = 8  # executions on one GPU, whose arithmetic they share, too
RAYS_PLACES = 10_000  # shares have four decimal places


@dataclass(frozen=True)
class Measured:
    """What past executions of a stage held at most, in bytes: memory of their machine, and of a GPU, of so many.

    gpu is None where none ran on a GPU; of_gpu: all that the smallest of their GPUs has.
    """

    num: int
    memory: int
    gpu: int | None = None
    of_gpu: int | None = None


def measured(kinds: Iterable[str], studies: Mapping[str, Study], history: History, series: str) -> dict[str, Measured]:
    """Stage → what it held in the past: on such a series, with the settings that the studies write for this scale."""
    result = {}
    for kind in kinds:
        found = [past.memory for past in history.like(kind, _written(kind, studies), series) if past.memory]
        on_gpu = [memory for memory in found if "peak_gpu_memory" in memory]
        if found:
            result[kind] = Measured(
                len(found),
                max(memory["peak_memory"] for memory in found),
                max((memory["peak_gpu_memory"] for memory in on_gpu), default=None),
                min((memory["gpu_memory"] for memory in on_gpu), default=None),
            )
    return result


def as_measured(scale: Scale, kinds: Iterable[str], studies: Mapping[str, Study], store: Store, series: str) -> Scale:
    """The scale with the shares that the store's executions tell, where it asks for that."""
    if scale.gpu_share == "written":
        return scale
    return placed(scale, measured(kinds, studies, History(store), series), gpu_bytes_here())


def placed(scale: Scale, found: Mapping[str, Measured], gpu_bytes: int | None = None) -> Scale:
    """The scale with measured shares of a GPU in the place of written ones, where it asks for that.

    gpu_bytes: memory of the smallest GPU here; None: that of the smallest on which was measured. A stage that needs no
    GPU, or several, is left as it is written.
    """
    resources = dict(scale.resources)
    for kind, of in found.items():
        if is_measured(scale, kind, found):
            share = share_of(of.gpu or 0, gpu_bytes or of.of_gpu or 0)
            resources[kind] = replace(resources.get(kind, Needs()), num_gpus=share)
    return replace(scale, resources=resources)


def is_measured(scale: Scale, kind: str, found: Mapping[str, Measured]) -> bool:
    """Whether the share of a GPU of a stage comes from what was measured."""
    on_gpu = kind in found and found[kind].gpu is not None
    return scale.gpu_share == "measured" and on_gpu and 0 < scale.of(kind).num_gpus <= 1


def share_of(held_bytes: float, gpu_bytes: float) -> float:
    """1, 1/2, 1/3, … of a GPU for an execution that held so much; in Ray's four places, rounded down."""
    num = int(gpu_bytes // (held_bytes * MARGIN + CONTEXT_BYTES))
    return (RAYS_PLACES // min(max(num, 1), MOST)) / RAYS_PLACES


def gpu_bytes_here() -> int | None:
    """Memory of the smallest GPU of this machine, as the driver's tool says; None without one, or on a cluster."""
    if os.environ.get("RAY_ADDRESS") or shutil.which("nvidia-smi") is None:
        return None
    words = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]  # MiB, one line each
    try:
        said = subprocess.run(words, capture_output=True, timeout=10, check=True).stdout.decode(errors="replace")
    except (OSError, subprocess.SubprocessError):
        return None  # no driver: what was measured tells of the GPU, too
    return min((int(line) * 2**20 for line in said.split() if line.isdigit()), default=None)


def _written(kind: str, studies: Mapping[str, Study]) -> list[dict[str, object]]:
    """The settings of a stage that each study fixes, without those that its space or a control changes."""
    result = []
    for study in studies.values():
        if study.kind == kind:
            changed = {name for changes in study.controls.values() if isinstance(changes, Mapping) for name in changes}
            open_ = {name.split("/")[0] for name in study.space} | changed
            result.append({name: value for name, value in study.config.items() if name not in open_})
        if kind in study.joint:
            joint = study.joint[kind]
            result.append({name: value for name, value in joint.config.items() if name not in joint.space})
    return result or [{}]
