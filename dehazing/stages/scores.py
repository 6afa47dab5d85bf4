"""The evaluation table: one row per variant, field and step, each metric measured once.

Its columns, all of one field against what it is scored against:

| column | what | better |
|---|---|---|
| `psnr` | PSNR in dB, the range that of the reference | high |
| `psnr_ri` | the same after the best gain and offset, dB | high |
| `ssim` | structural similarity | 1 |
| `mse` | mean square error, normalised intensities squared | low |
| `band_0` … `band_3` | error energy over the reference's, per radial frequency band, lowest first | 0 |
| `power_0` … `power_3` | power over the reference's, per band; below 1 is blur | 1 |
| `coherence_0` … `coherence_3` | correlation of both spectra, per band | 1 |
| `drift`, `drift_cosine`, `norm_ratio` | of a latent against the true one (NaN without latents) | 0, 1, 1 |

`step` counts the loop's, `level` is what a prediction is made from, and `start` the level that the loop began at:
level + step. What takes one step stands at T - level, beside the loop from T, so that its `start` is T.

For the confirmation alone (`FULL`), NaN where a metric does not apply:

| column | what | better |
|---|---|---|
| `ms_ssim` | structural similarity over as many scales as the size allows | 1 |
| `micro_ms3im` | the same without background and with the best gain | 1 |
| `frc_px` | finest period that agrees with the truth (Fourier ring correlation at 1/7), px; inf: none | 2 |
| `background` | light left where the truth is dark, as a share of its range; below 0 too much was taken | 0 |
| `line_f1` | F1 of the centre lines within 2 px | 1 |
| `psnr_structure` | PSNR over the pixels of the structure, dB | high |
| `psnr_background` | PSNR over the others, dB, the range that of `psnr` as well | high |
| `structure_share` | share of the pixels that are structure, which brings both errors to that of `psnr` | |

`frc_px`, `background` and `line_f1` need a simulated series. Why a column is NaN stands in the file's metadata, under
`refused`.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from dehazing import metrics
from dehazing.data.latents import Latent
from dehazing.metrics import place  # not in the package: what is trained needs none of it, and would be trained anew
from dehazing.metrics.reference import Reference, reference_of

NUM_BANDS = 4
Columns = Mapping[str, Sequence[float]]  # metric → one number per field
LATENT_METRICS = ("drift", "drift_cosine", "norm_ratio")
FULL: Mapping[str, Callable[[Tensor, Reference], Tensor]] = {
    "ms_ssim": metrics.ms_ssim,
    "micro_ms3im": metrics.micro_ms3im,
    "frc_px": metrics.frc_resolution,
    "background": metrics.background_residue,
    "line_f1": metrics.line_f1,
    "psnr_structure": place.psnr_structure,
    "psnr_background": place.psnr_background,
    "structure_share": place.structure_share,
}


def measured_images(images: Tensor, reference: Tensor | Reference, full: bool = False) -> Columns:
    """How near images (N, Y, X) are to the reference (N, Y, X); full: with the columns of `FULL` as well."""
    reference = reference_of(reference)
    bands = metrics.band_scores(images, reference, NUM_BANDS)
    columns: dict[str, Tensor] = {
        "psnr": metrics.psnr(images, reference),
        "psnr_ri": metrics.psnr_ri(images, reference),
        "ssim": metrics.ssim(images, reference),
        "mse": metrics.mse(images, reference),
    }
    columns |= {f"band_{b}": bands.error[:, b] for b in range(NUM_BANDS)}
    columns |= {f"power_{b}": bands.power[:, b] for b in range(NUM_BANDS)}
    columns |= {f"coherence_{b}": bands.coherence[:, b] for b in range(NUM_BANDS)}
    measured = {name: column.tolist() for name, column in columns.items()}
    if full:
        alone = list(zip(images.split(1), reference.fields(), strict=True))
        measured |= {name: [_where_applicable(metric, *one) for one in alone] for name, metric in FULL.items()}
    return measured


def refused(references: Iterable[Reference]) -> dict[str, str]:
    """Column of `FULL` → why its metric does not apply to the first reference of one field that it refuses."""
    reasons: dict[str, str] = {}
    for reference in references:
        for name, metric in FULL.items():
            try:
                metric(reference.images, reference)
            except metrics.NotApplicable as reason:
                reasons.setdefault(name, str(reason))
    return reasons


def _where_applicable(metric: Callable[[Tensor, Reference], Tensor], image: Tensor, reference: Reference) -> float:
    """NaN where the metric refuses the field; why, `refused` tells."""
    try:
        return float(metric(image, reference))
    except metrics.NotApplicable:
        return math.nan


def measured_latents(z: Latent, truth: Latent) -> Columns:
    """How far latents z_t have drifted from the true ones."""
    values = (metrics.drift(z, truth), metrics.cosine(z, truth), metrics.norm_ratio(z, truth))
    return {name: column.tolist() for name, column in zip(LATENT_METRICS, values, strict=True)}


def concatenated(parts: Sequence[Columns]) -> Columns:
    """The columns of several chunks of fields as those of all."""
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}


class Table:
    """Collects the rows of one evaluation; names are those of the N fields, refused: column → why it is NaN."""

    def __init__(self, names: Sequence[str], refused: Mapping[str, str] | None = None):
        self.names, self.refused = list(names), dict(refused or {})
        self._columns: dict[str, list[Any]] = {name: [] for name in ("variant", "field", "step", "level", "start")}
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
            "start": [level + step] * num,
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
        metadata = {"refused": json.dumps(self.refused)} if self.refused else None
        pq.write_table(pa.table(self._columns, metadata=metadata), buffer)
        return buffer.getvalue()
