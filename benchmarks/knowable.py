"""How much of the haze can any G know? The share of each level's variance that z_0 explains, alone and with z_T.

    python -m benchmarks.knowable [--dataset FILE] [--steps 600] [--hvae FOLDER] [--root FOLDER] [--out FILE.json]

For pixels and for the latents of an HVAE (`--hvae`: a published one of this dataset, <results>/stages/hvae/…; else one
with the stage's own settings is trained first). Noise-free levels where the series is simulated, acquired frames where
not; `--inputs frame` takes z_0 and z_T from acquired frames, as the loop does: a noise-free x_0 betrays haze that
drowns in the noise of a frame. Maps and regressors are fitted on the training fields and scored on the test fields.
The row `alpha` says where the series is linear: it is Eq. 2 with the fitted alpha_t, which stand above it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dehazing.data.archive import load_series
from dehazing.data.dataset import read_dataset
from dehazing.data.latents import Latent, encode_series
from dehazing.data.series import Series
from dehazing.models.blocks import pad_to_multiple
from dehazing.pipeline.execute import execute
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.series import ensure_series
from dehazing.pipeline.store import Store
from dehazing.stages import weights
from dehazing.stages.regressor import Training, explained_by_level
from dehazing.stages.space import PIXEL_CHANNELS, PIXEL_STRIDE
from studies.reading import FOLDER


def levels_of(series: Series, split: str, device: str, inputs: str = "truth") -> torch.Tensor:
    """x (N, T + 1, Y, X): noise-free where the simulator knows it, or as acquired."""
    truth = series.truth(split) if inputs == "truth" else None
    x = torch.from_numpy(series.x(split) if truth is None else truth).to(device)
    return pad_to_multiple(x, PIXEL_STRIDE)


def measure(
    series: Series, hvae: Any, training: Training, patch_px: int, device: str, inputs: str = "truth"
) -> dict[str, Any]:
    """Domain → what `explained_by_level` found. inputs: truth | frame, what z_0 and z_T are made of."""
    splits = ("train", "test")
    x = [levels_of(series, split, device) for split in splits]
    x += [levels_of(series, split, device, inputs) for split in splits] if inputs == "frame" else []

    def in_pixels(x: torch.Tensor) -> Latent:
        return (x[:, :, None],)

    def in_latents(x: torch.Tensor) -> Latent:
        return encode_series(hvae.encode, x)

    found = {}
    for domain, E, channels, stride in (
        ("pixels", in_pixels, PIXEL_CHANNELS, 1),
        ("latents", in_latents, hvae.latent_channels, 2 ** len(hvae.latent_channels)),
    ):
        crop = Training(**{**vars(training), "crop": max(1, patch_px // stride)})
        train, test, *seen = map(E, x)
        found[domain] = explained_by_level(train, test, channels, crop, *seen)
        print(f"{domain} measured", file=sys.stderr)
    return found


def report(series: Series, found: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """The figures as one table per domain."""
    levels = [f"{pinhole:g} {series.pinhole_unit}" for pinhole in series.pinholes[1:-1]]
    lines = []
    for domain, rows in found.items():
        lines += [f"| {domain} | {' | '.join(levels)} |", "|---" * (len(levels) + 1) + "|"]
        lines += [f"| {name} | {' | '.join(f'{value:.3f}' for value in values)} |" for name, values in rows.items()]
        lines.append("")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.knowable", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--dataset", type=Path, default=FOLDER / "datasets" / "lines.yaml", metavar="FILE")
    parser.add_argument("--inputs", choices=("truth", "frame"), default="truth")
    parser.add_argument("--steps", type=int, default=600, metavar="N")
    parser.add_argument("--width", type=int, default=32, metavar="N")
    parser.add_argument("--patch", type=int, default=64, metavar="PX")
    parser.add_argument("--hvae", type=Path, metavar="FOLDER")
    parser.add_argument("--root", type=Path, default=Path("results/benchmarks"), metavar="FOLDER")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="the figures, for the record")
    asked = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    store = Store(asked.root.resolve())
    digest = ensure_series(read_dataset(asked.dataset), store)
    folder = asked.hvae
    if folder is None:
        execution = Execution("hvae", {}, digest, 0)
        execute(execution, store)
        folder = store.folder(execution.address)
    series = load_series(store.folder(f"series/{digest}"))
    training = Training(width=asked.width, num_steps=asked.steps)
    found = measure(series, weights.load(folder, device), training, asked.patch, device, asked.inputs)
    print(report(series, found))
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
