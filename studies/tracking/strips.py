"""Pictures for MLflow's runs: what each method makes of one test field, alone and step by step; small, on one scale."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from analysis.pictures import grey_scale

LARGEST_PX = 192  # of a side: of a larger field its middle is shown
LEAST_PX = 128  # of the longer side, about: a smaller field is shown enlarged, pixel by pixel
GAP_PX = 2  # white, between pictures
IMAGES = "images"  # folder in which MLflow's pages look for pictures that have a step


def write_pictures(images: Mapping[str, np.ndarray], folder: Path) -> list[str]:
    """Writes the pictures of every method to folder/<method>, as artifacts of its run; returns the methods.

    images: as the evaluation wrote them; of their first field restored.png (input, prediction, truth), of a loop also
    steps.png (every prediction, truth), and `images`, one picture per step, as MLflow's log_image names them. What has
    one step is there at every step of the loop, as its score is. All on the truth's grey scale, but for the input.
    """
    if "truth" not in images or "input" not in images:
        return []
    truth, hazy = images["truth"][0], images["input"][0]
    greys = grey_scale(truth)
    steps = {name.removesuffix("/steps"): _of_first(stack) for name, stack in images.items() if name.endswith("/steps")}
    num_steps = max((len(stack) for stack in steps.values()), default=1)
    methods = [name for name in images if "/" not in name and name not in ("truth", "frame")]
    for name in methods:
        place = folder / name
        (place / "pictures").mkdir(parents=True, exist_ok=True)
        (place / IMAGES).mkdir(exist_ok=True)
        own = grey_scale(images[name][0]) if name == "input" else greys
        last = _grey(images[name][0], *own)
        beside = [last, _grey(truth, *greys)]
        if name != "input":
            beside.insert(0, _grey(hazy, *grey_scale(hazy)))
        _row(beside).save(place / "pictures" / "restored.png")
        shown = [_grey(one, *own) for one in steps.get(name, ())]
        if shown:
            _row([*shown, _grey(truth, *greys)]).save(place / "pictures" / "steps.png")
        for step, grey in enumerate(shown or [last] * num_steps):
            _save_step(Image.fromarray(grey), place / IMAGES, name, step)
    return methods


def _save_step(picture: Image.Image, folder: Path, name: str, step: int) -> None:
    """As MLflow's log_image does, but always under the same name, so that the same picture is never there twice."""
    stem = f"restored+step+{step}+timestamp+1+{uuid.uuid5(uuid.NAMESPACE_URL, f'{name}/{step}')}"
    picture.save(folder / f"{stem}.png", optimize=True)
    picture.save(folder / f"{stem}+compressed.webp")


def _of_first(stack: np.ndarray) -> np.ndarray:
    return stack[:, 0] if stack.ndim == 4 else stack


def _grey(image: np.ndarray, low: float, high: float) -> np.ndarray:
    top, left = (max(0, (size - LARGEST_PX) // 2) for size in image.shape)
    part = image[top : top + LARGEST_PX, left : left + LARGEST_PX]
    grey = np.nan_to_num(255 * (part - low) / (high - low), nan=0, posinf=255, neginf=0)
    times = max(1, LEAST_PX // max(part.shape))
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8).repeat(times, axis=0).repeat(times, axis=1)


def _row(pictures: list[np.ndarray]) -> Image.Image:
    between = np.full((pictures[0].shape[0], GAP_PX), 255, np.uint8)
    parts = [part for picture in pictures for part in (between, picture)][1:]
    return Image.fromarray(np.concatenate(parts, axis=1))
