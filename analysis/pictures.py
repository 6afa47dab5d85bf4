"""Example images: every variant of a field side by side, and a variant level by level, on one grey scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from analysis.variants import colour, is_variant, one_shot_methods, ordered, title

COLUMNS = (8, 7, 6)
INCHES = 1.75  # width of a picture

Images = Mapping[str, np.ndarray]  # name → (K, Y, X), "<variant>/steps" → (steps, K, Y, X) or (steps, Y, X)


def examples(images: Images, scores: Mapping[str, float], k: int = 0) -> Figure:
    """Field k as everything restores it at its last step: input, baselines, every variant, truth.

    One grey scale, the truth's, but for the input: its level has a brightness of its own and would be black or white.
    scores: name → PSNR of that field in dB, printed above its picture.
    """
    names = example_names(images)
    low, high = grey_scale(images["truth"][k])
    num_columns = min(len(names), min(COLUMNS, key=lambda columns: -len(names) % columns))  # fewest places left over
    num_rows = -(-len(names) // num_columns)
    size_y, size_x = images["truth"].shape[1:]
    height = INCHES * size_y / size_x + 0.66
    figure = Figure(figsize=(INCHES * num_columns, height * num_rows), layout="constrained")
    grid = figure.subplots(num_rows, num_columns, squeeze=False)
    for axes, name in zip(grid.flat, names, strict=False):
        black, white = grey_scale(images[name][k]) if name == "input" else (low, high)
        axes.imshow(images[name][k], cmap="gray", vmin=black, vmax=white, interpolation="nearest")
        score = f"\n{scores[name]:.1f} dB" if np.isfinite(scores.get(name, np.nan)) else ""
        shown = {"weight": "normal", "color": colour(name)} if is_variant(name) else {"weight": "bold"}
        heading = "input, its own greys" if name == "input" else title(name)
        axes.set_title(_wrapped(heading) + score, fontsize=8.5, **shown)
    for axes in grid.flat:
        axes.set_axis_off()
    return figure


def example_steps(images: Images, variants: Sequence[str], k: int = 0) -> Figure:
    """Field k as each variant predicts it, level by level to the right, beside the truth (or the acquired frame)."""
    steps = [_of_field(images[f"{name}/steps"], k) for name in variants]
    num_steps = max(len(pictures) for pictures in steps)
    truth = images["truth"][k]
    low, high = grey_scale(truth)
    height = INCHES * truth.shape[0] / truth.shape[1] + 0.12
    size = (INCHES * (num_steps + 1) + 1.4, height * len(variants) + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(variants), num_steps + 1, squeeze=False)
    for row, name, pictures in zip(grid, variants, steps, strict=True):
        for axes, picture in zip(row, [*pictures, truth], strict=False):
            axes.imshow(picture, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        row[0].set_ylabel(_wrapped(title(name)), fontsize=10, rotation=0, ha="right", va="center", color=colour(name))
    for place, axes in enumerate(grid[0]):
        axes.set_title(
            f"t = {num_steps - place}" if place < num_steps else "acquired" if _without_truth(images) else "truth",
            fontsize=10,
        )
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    return figure


def example_names(images: Images) -> list[str]:
    """The pictures as they are read: input, baselines, classical controls, variants, acquired frame, truth."""
    whole = {name for name in images if "/" not in name}
    first = [name for name in ("input", *one_shot_methods(turned=False)) if name in whole]
    last = [name for name in ("frame", "truth") if name in whole]
    if _without_truth(images):
        last = ["frame"]
    return [*first, *ordered(name for name in whole if is_variant(name)), *last]


def _without_truth(images: Mapping[str, np.ndarray]) -> bool:
    """Whether this is a real series, scored against its acquired frame."""
    return "frame" in images and np.array_equal(images["frame"], images["truth"])


def grey_scale(image: np.ndarray) -> tuple[float, float]:
    """What is shown black and white: the 0.5th and the 99.8th percentile of an image, usually the truth."""
    low, high = np.quantile(image, [0.005, 0.998])
    return float(low), float(max(high, low + 1e-6))


def _of_field(steps: np.ndarray, k: int) -> np.ndarray:
    return steps[:, k] if steps.ndim == 4 else steps


def _wrapped(text: str, width: int = 18) -> str:
    """Two lines at most, so that titles of pictures do not run into each other."""
    cut = text.rfind(" ", 0, width + 1)
    return text if len(text) <= width or cut < 0 else text[:cut] + "\n" + text[cut + 1 :]
