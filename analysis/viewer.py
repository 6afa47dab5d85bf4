"""The report's image viewer: what it shows of one test field, two methods at a time, level by level."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from PIL import Image

from analysis.pictures import example_names, grey_scale
from analysis.variants import BASELINES, is_variant, title

SCRIPT = Path(__file__).with_name("viewer.js")
LARGEST_PX = 512  # of a side: a larger field is shown by its middle, or the page would weigh too much
LAST = ("frame", "truth")

Pictures = Mapping[str, np.ndarray]  # as `pictures.Images`


def viewer(images: Pictures, scores: pd.DataFrame, shown: str = "") -> dict[str, Any] | None:
    """What the page's script needs of the first field; None where there is nothing to step through.

    images: of `read_examples`. scores: rows of that field and of the seed that the images are of. shown: the variant
    to begin with. Greys are the truth's, 8 bits; the input, whose brightness is its own, has its own greys.
    {"levels": [T, …, 1], "left", "right", "methods": [{"name", "title", "frames": [address of a PNG], "psnr": [dB]}]};
    a method of one step has one frame.
    """
    stepped = [name for name in images if name.endswith("/steps")]
    if "truth" not in images or not stepped:
        return None
    num_steps = max(len(images[name]) for name in stepped)
    low, high = grey_scale(images["truth"][0])
    psnr = scores.set_index(["variant", "step"])["psnr"]
    names = example_names(images)
    methods = []
    for name in names:
        steps = _frames(images, name)
        greys = grey_scale(steps[0]) if name == "input" else (low, high)
        found = [float(psnr.get((name, step), np.nan)) for step in range(len(steps))]
        methods.append(
            {
                "name": name,
                "title": title(name),
                "frames": [_address(frame, *greys) for frame in steps],
                "psnr": [round(value, 2) if np.isfinite(value) else None for value in found],
            }
        )
    return {
        "levels": list(range(num_steps, 0, -1)),
        "left": shown if shown in names else next(name for name in names if is_variant(name)),
        "right": next(name for name in (*BASELINES, *LAST) if name in names),
        "methods": methods,
    }


def script() -> Markup:
    """The viewer's script, to stand in the page."""
    return Markup(SCRIPT.read_text(encoding="utf-8"))


def as_json(data: Mapping[str, Any] | None) -> Markup:
    """Data as text that may stand in a <script>: no "</" in it."""
    return Markup(json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/"))


def _frames(images: Pictures, name: str) -> Sequence[np.ndarray]:
    if f"{name}/steps" not in images:
        return [images[name][0]]
    steps = images[f"{name}/steps"]
    return list(steps[:, 0] if steps.ndim == 4 else steps)


def _address(image: np.ndarray, low: float, high: float) -> str:
    top, left = (max(0, (size - LARGEST_PX) // 2) for size in image.shape)
    part = image[top : top + LARGEST_PX, left : left + LARGEST_PX]
    grey = np.nan_to_num(255 * (part - low) / (high - low), nan=0, posinf=255, neginf=0)
    file = io.BytesIO()
    Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8)).save(file, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
