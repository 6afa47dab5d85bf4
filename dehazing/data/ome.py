"""Writing a series as OME-TIFF, its pinholes in the metadata, with the YAML that reads it back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import yaml

from dehazing.data.series import Series

TOP = 65535


def write_series(
    series: Series, folder: Path, numerical_aperture: float | None = None, emission_nm: float | None = None
) -> Path:
    """One OME-TIFF (CYX) per field as `<split>/<field>.ome.tif`, and `dataset.yaml`, whose path is returned.

    `PinholeSize` is a diameter in the sample (magnification 1): in µm for series in µm and, where the aperture and
    the wavelength are given, for series in Airy units; in `pixel` for series in px. OME has no word for an open
    pinhole: its channel is named "open" and states no size. `dataset.yaml` states every pinhole in the series'
    own unit. Whole counts are written as uint16, other frames as float32. Levels are registered already and the
    normalisation is computed anew, to the same numbers. ValueError for a series of Eq. 2, which has no pinholes.
    """
    if series.pinhole_unit not in ("au", "um", "px"):
        raise ValueError(f"Only a series of pinholes can be written, but the unit is {series.pinhole_unit}.")
    folder = Path(folder)
    sizes, unit = _sizes(series, numerical_aperture, emission_nm)
    channels: dict[str, Any] = {"Name": [_name(pinhole, series.pinhole_unit) for pinhole in series.pinholes]}
    if sizes is not None:
        channels["PinholeSize"] = sizes
        channels["PinholeSizeUnit"] = [None if size is None else unit for size in sizes]
    if emission_nm is not None:
        channels |= {"EmissionWavelength": [emission_nm] * len(series.pinholes)}
        channels |= {"EmissionWavelengthUnit": ["nm"] * len(series.pinholes)}
    metadata: dict[str, Any] = {"axes": "CYX", "Channel": channels}
    if series.pixel_size_um is not None:
        for axis in "XY":
            metadata |= {f"PhysicalSize{axis}": series.pixel_size_um, f"PhysicalSize{axis}Unit": "µm"}
    for field in series.fields:
        path = folder / field.split / f"{field.name}.ome.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, _counts(field.frames), photometric="minisblack", metadata=metadata, ome=True)
    return _write_yaml(series, folder, numerical_aperture, emission_nm)


def _sizes(
    series: Series, numerical_aperture: float | None, emission_nm: float | None
) -> tuple[list[float | None] | None, str]:
    """`PinholeSize` of every level, None where it is open, and its unit."""
    factor, unit = 1.0, "pixel" if series.pinhole_unit == "px" else "µm"
    if series.pinhole_unit == "au":
        if numerical_aperture is None or emission_nm is None:
            return None, unit
        factor = 1.22 * emission_nm * 1e-3 / numerical_aperture
    return [None if math.isinf(pinhole) else factor * pinhole for pinhole in series.pinholes], unit


def _name(pinhole: float, unit: str) -> str:
    return "open" if math.isinf(pinhole) else f"pinhole {pinhole:g} {unit}"


def _counts(frames: np.ndarray) -> np.ndarray:
    whole = frames.min() >= 0 and frames.max() <= TOP and bool((frames == np.rint(frames)).all())
    return frames.astype(np.uint16) if whole else frames.astype(np.float32)


def _write_yaml(series: Series, folder: Path, numerical_aperture: float | None, emission_nm: float | None) -> Path:
    record: dict[str, Any] = {
        "kind": "pinhole_series",
        "path": "{split}/{fov}.ome.tif",
        "axes": "CYX",
        "pinholes": list(series.pinholes),
        "pinhole_unit": series.pinhole_unit,
        "clean": series.pinholes[0],
        "register": False,
    }
    optional = {
        "pixel_size_um": series.pixel_size_um,
        "numerical_aperture": numerical_aperture,
        "emission_nm": emission_nm,
    }
    record |= {key: value for key, value in optional.items() if value is not None}
    path = folder / "dataset.yaml"
    path.write_text(yaml.safe_dump(record, sort_keys=False), encoding="utf-8")
    return path
