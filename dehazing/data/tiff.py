"""Reading one TIFF whose author may be careless or hostile: refused with one sentence, or read whole."""

from __future__ import annotations

import contextlib
import logging
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

from dehazing.data.finite import first_not_finite, is_finite

MAX_BYTES = 8 * 2**30  # of pixels in one file
ALWAYS_PLAUSIBLE_BYTES = 64 * 2**20
MAX_COMPRESSION = 1100  # deflate, the densest common codec, ends at 1032 : 1
MAX_PAGES = 100_000
COLOURS = {2: "RGB", 3: "palette colour", 5: "CMYK", 6: "YCbCr colour", 8: "CIELab", 9: "ICCLab", 10: "ITULab"}
MINISWHITE = 0


@dataclass(frozen=True)
class Tiff:
    """One image of a TIFF."""

    values: np.ndarray  # axes as in `axes`, the file's own dtype
    axes: str  # tifffile's letters, one a dimension: YX, CYX, ZYX, IYX …
    stated: bool  # whether the file's metadata states the axes (ImageJ, OME, tifffile) or they were guessed
    ome: str | None  # OME-XML


def read_tiff(path: Path) -> Tiff:
    """The image in `path`; ValueError, naming the file, where it is not a whole, grey, finite, varying image.

    What the header claims is checked against the file's size and `MAX_BYTES` before anything is allocated.
    """
    path = Path(path)
    _check_header(path)
    with _complaints() as complaints:
        try:
            with tifffile.TiffFile(path, _multifile=False) as tif:  # no other file that its OME-XML names
                series = _only_series(tif, path)
                _check_colour(tif, path)
                _check_claims(series, path)
                values = series.asarray()
                axes, kind, ome = series.axes, series.kind, tif.ome_metadata
        except _Refused as refusal:
            if not complaints:
                raise ValueError(str(refusal)) from None
        except Exception as error:  # a damaged file makes tifffile and the codecs raise anything at all
            raise ValueError(f"{path.name} is damaged or truncated: its image cannot be decoded.") from error
    if complaints:
        raise ValueError(f"{path.name} is damaged or truncated: {complaints[0]}.")
    check_values(values, axes, path)
    return Tiff(values, axes, stated=kind in ("imagej", "ome", "shaped", "mmstack", "lsm"), ome=ome)


class _Refused(ValueError):
    """A refusal of ours, told apart from what tifffile raises."""


@contextlib.contextmanager
def _complaints() -> Iterator[list[str]]:
    """What tifffile logs as errors about pages, kept off the terminal; it reads on after them, with pages missing."""
    found: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if record.levelno >= logging.ERROR and "TiffTag" not in message:
            found.append(re.sub(r"^<[^>]*> *", "", " ".join(message.split()))[:120])
        return False

    logger = logging.getLogger("tifffile")
    logger.addFilter(keep)
    try:
        yield found
    finally:
        logger.removeFilter(keep)


def _check_header(path: Path) -> None:
    if not path.exists():
        raise ValueError(f"{path} does not exist.")
    if not path.is_file():
        raise ValueError(f"{path} must be a TIFF file, but is not a file.")
    size = path.stat().st_size
    if size == 0:
        raise ValueError(f"{path.name} is empty (0 bytes).")
    with path.open("rb") as file:
        magic = file.read(4)
    if magic not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        raise ValueError(f"{path.name} is not a TIFF: it begins with {magic!r}.")


def _only_series(tif: tifffile.TiffFile, path: Path) -> tifffile.TiffPageSeries:
    if len(tif.pages) > MAX_PAGES:
        raise _Refused(f"{path.name} claims {len(tif.pages)} pages, more than the maximum of {MAX_PAGES}.")
    if not tif.series:
        raise _Refused(f"{path.name} holds no image.")
    if len(tif.series) > 1:
        shapes = ", ".join(str(series.shape) for series in tif.series[:4])
        raise _Refused(
            f"{path.name} must hold one image whose pages have one shape and type, but holds "
            f"{len(tif.series)}, of shapes {shapes}."
        )
    return tif.series[0]


def _check_colour(tif: tifffile.TiffFile, path: Path) -> None:
    photometric = int(tif.pages.first.photometric)
    if photometric in COLOURS:
        raise _Refused(f"{path.name} must be grey, but is {COLOURS[photometric]}.")
    if photometric == MINISWHITE:
        raise _Refused(f"{path.name} must be brighter where its numbers are larger, but states that 0 is white.")


def _check_claims(series: tifffile.TiffPageSeries, path: Path) -> None:
    size = path.stat().st_size
    if series.dtype is None or series.dtype.kind not in "iuf":
        raise _Refused(f"{path.name} must hold whole or real numbers, but its type is {series.dtype}.")
    claimed = math.prod(int(length) for length in series.shape) * series.dtype.itemsize
    if claimed == 0:
        raise _Refused(f"{path.name} holds an image without pixels, of shape {series.shape}.")
    if claimed > MAX_BYTES:
        raise _Refused(
            f"{path.name} claims {claimed / 2**30:.1f} GiB of pixels (shape {series.shape}), more than the "
            f"maximum of {MAX_BYTES / 2**30:.0f} GiB."
        )
    if claimed > ALWAYS_PLAUSIBLE_BYTES and claimed > MAX_COMPRESSION * size:
        raise _Refused(
            f"{path.name} claims {claimed} bytes of pixels (shape {series.shape}), which {size} bytes cannot hold."
        )
    end = 0
    for page in series.pages:
        if page is None:
            raise _Refused(
                f"{path.name} is damaged or truncated, or one of several: pages that its metadata names are missing."
            )
        end = max([end, *(o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False))])
    if series.dataoffset is not None:
        end = max(end, series.dataoffset + claimed)
    if end > size:
        raise _Refused(f"{path.name} is damaged or truncated: its pixels end at byte {end}, but it has {size} bytes.")


def check_values(values: np.ndarray, axes: str, path: Path) -> None:
    """ValueError, naming the file, where values are not finite or all the same."""
    if not is_finite(values):
        first = zip(axes, first_not_finite(values), strict=True)
        place = ", ".join(f"{axis} = {index}" for axis, index in first)
        raise ValueError(f"{path.name} must hold finite numbers, but holds NaN or infinity, first at {place}.")
    low, high = values.min(), values.max()
    if low == high:
        raise ValueError(f"{path.name} is constant: every pixel is {low}.")
