"""A confirmed experiment of real stages, trained for a moment, in a real store, to restore images with.

Only its confirm.json is written here, as the end of a run writes it.
"""

import json

import numpy as np
import tifffile

from dehazing.data.archive import save_series
from dehazing.data.simulator import NumFields, SimulatedConfig, simulate
from dehazing.pipeline.execute import execute
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store
from studies.__main__ import main

NAME, SEED = "tiny-smoke", 7
BRIEF = {"num_epochs": 1, "steps_per_epoch": 4, "batch_size": 2, "patch_px": 32}
LADDER = {"latent_channels": [2, 2, 2], "width": 8}
OPERATOR = {**BRIEF, "width": 8, "discriminator_width": 8}
STAGES = {
    "unet": ("unet", {**BRIEF, "base": 4, "depth": 2}),
    "nafnet": ("nafnet", {**BRIEF, "width": 4, "depth": 2}),
    "hdn": ("hdn", {**BRIEF, **LADDER, "num_samples": 3}),
    "hvae": ("hvae", {**BRIEF, **LADDER}),
    "restorer": ("restorer", {**BRIEF, "width": 8}),
    "restorer_pixels": ("restorer", {**BRIEF, "width": 8, "domain": "pixels"}),
    "degrader": ("degrader", OPERATOR),
    "anchored": ("degrader", {**OPERATOR, "anchor": "z_T", "shared": True}),
    "pixels": ("degrader", {**OPERATOR, "domain": "pixels"}),
}
UPSTREAMS = {
    "restorer": ["hvae"],
    "degrader": ["hvae", "restorer"],
    "anchored": ["hvae", "restorer"],
    "pixels": ["restorer_pixels"],
}
LOOPS = [
    {"variant": "direct"},
    {"variant": "combine_z0", "reference": "previous", "name": "combine_z0_previous"},
    {"variant": "combine_z0", "reference": "first", "name": "combine_z0_first"},
    {"variant": "refine_both", "name": "refine_both_anchored", "degrader": "anchored"},
    {"variant": "residual", "name": "residual_anchored", "degrader": "anchored", "match": "moments_of_field"},
    {"variant": "bridge"},
    {"variant": "direct", "name": "direct_pixels", "degrader": "pixels", "domain": "pixels"},
]
MODELS = ["unet", "nafnet", "hdn", *(one.get("name", one["variant"]) for one in LOOPS)]


def make(root, aside):
    """Into a results folder: T = 2, 64 px, six training fields. aside: an empty folder for the series."""
    config = SimulatedConfig(
        num_fields=NumFields(6, 2, 2), pinholes_au=(1, 4, 20), field_px=64, depth_um=2.0, pad_px=16
    )
    save_series(simulate(config, progress=False), aside)
    store = Store(root)
    store.publish("series/tiny", {path.name: path for path in aside.iterdir()})
    made = {}
    for name, (kind, settings) in STAGES.items():
        execution = Execution(kind, settings, "tiny", SEED, {role: made[role] for role in UPSTREAMS.get(name, [])})
        execute(execution, store)
        made[name] = execution.address
    loop = Execution("iterative", {"configurations": LOOPS, "split": "test", "full": True}, "tiny", SEED, made)
    execute(loop, store)
    confirmation = {
        "experiment": NAME,
        "dataset": "tiny",
        "seeds": [SEED, SEED + 1],
        "iterative": {str(SEED): loop.address},
        "stages": {name: {str(SEED): address} for name, address in made.items()},
        "loops": LOOPS,
    }
    (root / NAME).mkdir()
    (root / NAME / "confirm.json").write_text(json.dumps(confirmation))


def frames_of(series, level):
    """Of the test split, (Y, X) each."""
    return [field.frames[level] for field in series.fields if field.split == "test"]


def write(path, frames, axes="YX", **said):
    metadata = {"axes": axes, "PhysicalSizeX": 0.1, **said}
    tifffile.imwrite(path, np.asarray(frames), photometric="minisblack", metadata=metadata, ome=True)
    return path


def restore(restorable, out, *words):
    return main(["restore", "--storage", str(restorable), "--out", str(out), *map(str, words)])
