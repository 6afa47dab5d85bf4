"""`simulate`: a dataset as files."""

from __future__ import annotations

import argparse
from pathlib import Path

from dehazing.data.dataset import make_series, read_dataset
from dehazing.data.ome import write_series
from dehazing.pipeline.store import writing
from studies.asking import DATASET


def add_simulate(parser: argparse.ArgumentParser) -> None:
    """Options of `simulate`."""
    parser.add_argument("--dataset", type=Path, default=DATASET, metavar="FILE", help="YAML of a simulated dataset")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the OME-TIFF files go")
    parser.add_argument("--verbose", action="store_true", help="tracebacks")


def simulate(arguments: argparse.Namespace) -> int:
    """Write the series as OME-TIFF with the pinhole settings in its metadata, and a dataset YAML that reads it."""
    config = read_dataset(arguments.dataset.expanduser().resolve())
    out = arguments.out.expanduser().resolve()
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f"--out must be a new or an empty folder, but {out} holds files.")
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        (out / "dataset.yaml").touch()
    series = make_series(config)
    for note in series.notes:
        print(f"note: {note}")
    with writing(out):
        optics = getattr(config, "optics", None)  # by which Airy units become µm; a read series keeps its own unit
        write_series(series, out, *((optics.numerical_aperture, optics.emission_nm) if optics else ()))
    print(f"{len(series.fields)} fields at {series.T + 1} pinholes in {out}")
    print(f"read them by --dataset {out / 'dataset.yaml'}")
    return 0
