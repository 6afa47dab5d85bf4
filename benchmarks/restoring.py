"""`restore` on a large image: its peak memory, its time, and whether tiles leave a seam.

    python -m benchmarks.restoring --storage results [--models unet hdn direct] [--px 4096] [--check]

Memory and time are those of the shipped command in a process of its own, as the system counts them. The image is made
of test fields of the series and their mirror images, none of whose edges falls on the border of a tile. Two measures of
a seam:
  - `tiled - whole`: the same networks on an image of 1024 px, in tiles of 512 px and at once; the largest difference
    over the range of the result (bound: 1e-3);
  - `step at a border`: on the large result the mean jump across the borders of tiles over that one pixel beside them,
    on both sides; 1 where no border can be seen (bound: 1.25, as the mean of a few borders varies).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch

from benchmarks.engine import CHECKOUT, machine
from dehazing.data.archive import load_series
from dehazing.data.series import Series
from dehazing.stages.applied import Loop, OneShot, Posterior, Tiles
from dehazing.tiling import TILE_PX
from studies.trained import Trained, experiment_of, find

FITS_PX = 1024
AT_MOST = {"tiled - whole": 1e-3, "step at a border": 1.25, "memory GB": 4.0}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.restoring", description=str(__doc__).splitlines()[0])
    parser.add_argument("--storage", type=Path, default=Path("results"), help="with a confirmed experiment (results)")
    parser.add_argument("--experiment", help="its name, where there are several")
    parser.add_argument("--models", nargs="+", default=["unet", "nafnet", "hdn", "direct"])
    parser.add_argument("--px", type=int, default=4096, help="side of the image (4096)")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a bound is broken")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    given = parser.parse_args(arguments)
    if given.px < 2 * TILE_PX or given.px % TILE_PX:
        parser.error(f"--px must be a multiple of {TILE_PX}, two or more, as borders are looked for there: {given.px}.")
    root = given.storage.expanduser().resolve()
    experiment = experiment_of(root, given.experiment, "lines-quickstart")
    if not (root / experiment / "confirm.json").is_file():
        parser.error(f"{root} must hold a confirmed experiment, but {experiment} is not one: `run all` makes it.")
    rows = [measure(root, experiment, model, given.px) for model in given.models]
    broken = [
        f"{row['model']}: {name} {row[name]:.2g} > {bound:g}"
        for row in rows
        for name, bound in AT_MOST.items()
        if row[name] > bound
    ]
    print(f"broken: {'; '.join(broken)}" if broken else "all bounds hold")
    if given.out:
        given.out.write_text(
            json.dumps({"px": given.px, "rows": rows, "machine": machine(), "broken": broken}, indent=1)
        )
    return int(given.check and bool(broken))


def measure(root: Path, experiment: str, model: str, px: int) -> dict[str, Any]:
    """One model on the large image and on the one where tiles and whole both fit."""
    found = find(root, experiment, model, lambda: _confirmed_only(experiment))
    series = load_series(found.folder(found.series))
    T = series.T
    x_T = series.x("test")[:, T]
    row: dict[str, Any] = {"model": model, "px": px}
    with tempfile.TemporaryDirectory() as scratch:
        image, out = Path(scratch) / "large.tif", Path(scratch) / "out"
        tifffile.imwrite(image, mosaic(x_T * series.scale[T] + series.offset[T], px))
        command = [sys.executable, "-m", "studies", "restore", str(image), "--model", model, "--level", str(T)]
        command += ["--storage", str(root), "--experiment", experiment, "--out", str(out), "--force"]
        row |= watched(command)
        (restored,) = out.iterdir()
        row["step at a border"] = step_at_borders(tifffile.imread(restored), TILE_PX)
    small = torch.from_numpy(mosaic(x_T, FITS_PX))[None, None]
    tiled, whole = (network_of(found, series, Tiles(tile_px=side))(small, T).x0_hat for side in (TILE_PX, FITS_PX))
    row["tiled - whole"] = float((tiled - whole).abs().max() / (whole.max() - whole.min()))
    print(
        ", ".join(
            f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items()
        )
    )
    return row


def network_of(found: Trained, series: Series, tiles: Tiles) -> OneShot | Posterior | Loop:
    """What `restore` applies."""
    folders = found.folders()
    if found.kind == "hdn":
        return Posterior(folders["hdn"], tiles)
    if found.configuration is None:
        return OneShot(folders[found.kind], tiles)
    return Loop(found.configuration, folders, torch.from_numpy(series.x("train")), tiles)


def mosaic(fields: np.ndarray, px: int) -> np.ndarray:
    """An image (px, px) of fields (N, Y, X) and their mirror images, begun within the first: see the module."""
    begin = fields.shape[-1] * 4 // 5
    num = -(-(px + begin) // (2 * fields.shape[-1]))
    blocks = [np.pad(field, [(0, side) for side in field.shape], mode="symmetric") for field in fields]
    rows = [[blocks[(row * num + column) % len(blocks)] for column in range(num)] for row in range(num)]
    return np.block(rows)[begin : begin + px, begin : begin + px].astype(np.float32)


def step_at_borders(image: np.ndarray, tile_px: int) -> float:
    """Mean jump across the borders of tiles over the mean one a pixel before and after, along both axes."""
    ratios = []
    for along in (image, image.T):
        borders = np.arange(tile_px, len(along), tile_px)
        jumps = [np.abs(along[borders + shift] - along[borders + shift - 1]).mean() for shift in (-1, 0, 1)]
        ratios.append(2 * jumps[1] / (jumps[0] + jumps[2]))
    return float(max(ratios))


def watched(command: Sequence[str]) -> dict[str, float]:
    """Seconds and peak resident memory of a process; RuntimeError where it fails."""
    begun = time.monotonic()
    process = subprocess.Popen(command, cwd=CHECKOUT)
    _, status, used = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise RuntimeError(f"`{' '.join(command)}` must end with 0, but did not.")
    return {"seconds": time.monotonic() - begun, "memory GB": used.ru_maxrss * 1024 / 1e9}


def _confirmed_only(experiment: str) -> Any:
    raise ValueError(f"The experiment {experiment} must be confirmed.")


if __name__ == "__main__":
    sys.exit(main())
