"""The evaluation table: one row per variant, field and step, each metric measured once."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from dehazing import metrics
from dehazing.data.latents import Latent

NUM_BANDS = 4
Columns = Mapping[str, Sequence[float]]  # metric → one number per field
LATENT_METRICS = ("drift", "drift_cosine", "norm_ratio")


def measured_images(images: Tensor, reference: Tensor) -> Columns:
    """How near images (N, Y, X) are to the reference (N, Y, X)."""
    columns = {
        "psnr": metrics.psnr(images, reference),
        "psnr_ri": metrics.psnr_ri(images, reference),
        "ssim": metrics.ssim(images, reference),
        "mse": metrics.mse(images, reference),
    }
    bands = metrics.band_errors(images, reference, NUM_BANDS)
    powers = metrics.power_ratio(images, reference, NUM_BANDS)
    columns |= {f"band_{b}": bands[:, b] for b in range(NUM_BANDS)}
    columns |= {f"power_{b}": powers[:, b] for b in range(NUM_BANDS)}
    return {name: column.tolist() for name, column in columns.items()}


def measured_latents(z: Latent, truth: Latent) -> Columns:
    """How far latents z_t have drifted from the true ones."""
    values = (metrics.drift(z, truth), metrics.cosine(z, truth), metrics.norm_ratio(z, truth))
    return {name: column.tolist() for name, column in zip(LATENT_METRICS, values, strict=True)}


def concatenated(parts: Sequence[Columns]) -> Columns:
    """The columns of several chunks of fields as those of all."""
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}


class Table:
    """Collects the rows of one evaluation; names are those of the N fields."""

    def __init__(self, names: Sequence[str]):
        self.names = list(names)
        self._columns: dict[str, list[Any]] = {name: [] for name in ("variant", "field", "step", "level")}
        self._psnr: dict[tuple[str, int], Sequence[float]] = {}

    def add(self, variant: str, level: int, step: int, images: Columns, latents: Columns | None = None) -> None:
        """One row per field: what its image scores, and where there are latents how far they have drifted."""
        num = len(self.names)
        nothing = dict.fromkeys(LATENT_METRICS, [float("nan")] * num)
        row: dict[str, Sequence[Any]] = {
            "variant": [variant] * num,
            "field": self.names,
            "step": [step] * num,
            "level": [level] * num,
        }
        row |= {**images, **(nothing if latents is None else latents)}
        for name, values in row.items():
            self._columns.setdefault(name, []).extend(values)
        self._psnr[variant, level] = images["psnr"]

    def psnr(self, variant: str, level: int) -> float:
        """Mean PSNR over the fields, in dB."""
        values = self._psnr[variant, level]
        return sum(values) / len(values)

    def parquet(self) -> bytes:
        buffer = io.BytesIO()
        pq.write_table(pa.table(self._columns), buffer)
        return buffer.getvalue()
