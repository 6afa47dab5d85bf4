"""The evaluation table: one row per variant, field and step, and the one-shot methods and bounds beside the loops."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from dehazing import metrics
from dehazing.data.latents import Latent
from dehazing.stages import hdn, unet, weights
from dehazing.stages.hvae import reconstruct

NUM_BANDS = 4


class Scores:
    """Collects rows; reference (N, Y, X) is what images are scored against, names are those of the N fields."""

    def __init__(self, reference: Tensor, names: list[str]):
        self.reference, self.names = reference, names
        self.rows: list[dict[str, Any]] = []

    def add(
        self, variant: str, level: int, step: int, images: Tensor, latents: tuple[Latent, Latent] | None = None
    ) -> None:
        """Score images (N, Y, X), and the latents z_t that they were predicted from against the true ones."""
        columns = {
            "psnr": metrics.psnr(images, self.reference),
            "psnr_ri": metrics.psnr_ri(images, self.reference),
            "ssim": metrics.ssim(images, self.reference),
            "mse": metrics.mse(images, self.reference),
        }
        bands = metrics.band_errors(images, self.reference, NUM_BANDS)
        powers = metrics.power_ratio(images, self.reference, NUM_BANDS)
        columns |= {f"band_{b}": bands[:, b] for b in range(NUM_BANDS)}
        columns |= {f"power_{b}": powers[:, b] for b in range(NUM_BANDS)}
        if latents is None:
            nothing = torch.full((len(self.names),), torch.nan)
            columns |= dict.fromkeys(("drift", "drift_cosine", "norm_ratio"), nothing)
        else:
            columns["drift"] = metrics.drift(*latents)
            columns["drift_cosine"] = metrics.cosine(*latents)
            columns["norm_ratio"] = metrics.norm_ratio(*latents)
        values = {name: column.tolist() for name, column in columns.items()}
        for i, field in enumerate(self.names):
            row = {"variant": variant, "field": field, "step": step, "level": level}
            self.rows.append(row | {name: column[i] for name, column in values.items()})

    def mean(self, variant: str, metric: str, level: int) -> float:
        """Mean of a metric over the fields, at one level."""
        values = [row[metric] for row in self.rows if row["variant"] == variant and row["level"] == level]
        assert values, f"no row for {variant=} at {level=}"
        return sum(values) / len(values)

    def parquet(self) -> bytes:
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(self.rows), buffer)
        return buffer.getvalue()


def one_shot_scores(
    scores: Scores,
    x: Tensor,
    reference: Tensor,
    upstreams: Mapping[str, Path],
    autoencoder: Any,
    seed: int,
    every_level: bool,
) -> dict[str, Tensor]:
    """Score what takes one step, from every level or T alone: input, UNet, HDN; at T the ceiling; the pictures at T.

    `autoencoded` is Dec(E(x_t)), the latent route without restoration; the ceilings are Dec(E(x_0)), of the acquired
    frame and of what is scored against.
    """
    T = x.shape[1] - 1
    num_samples = json.loads((upstreams["hdn"] / "config.json").read_text())["config"]["num_samples"]
    networks = {name: weights.load(upstreams[name], str(x.device)) for name in ("unet", "hdn")}
    pictures: dict[str, Tensor] = {}
    for level in range(T, 0 if every_level else T - 1, -1):
        x_t = x[:, level]
        images = {
            "input": x_t,
            "autoencoded": reconstruct(autoencoder, x_t),
            "unet": unet.restore(networks["unet"], x_t, level),
            "hdn": hdn.restore(networks["hdn"], x_t, num_samples, seed),
        }
        for name, restored in images.items():
            scores.add(name, level, T - level, restored)
        pictures = pictures or images
    for name, clean in (("ceiling_frame", x[:, 0]), ("ceiling_truth", reference)):
        pictures[name] = reconstruct(autoencoder, clean)
        scores.add(name, T, 0, pictures[name])
    return pictures
