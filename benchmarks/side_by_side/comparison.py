"""Two sides trained in turns on the same batches, and their scores on the same fields."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.side_by_side import batches
from benchmarks.side_by_side.side import Diverged, Side
from dehazing import metrics
from dehazing.data.series import Series
from dehazing.stages.images import Images, reference

SEARCH_SEED = 1000  # the draws and the weights that settings are chosen with; no seed of the comparison


@dataclass(frozen=True)
class Plan:
    """How both sides are trained.

    levels: `all` of 1 … T, with a share at T, or `T` alone. num_search_steps: of each setting that is tried.
    """

    num_steps: int
    num_search_steps: int
    seeds: tuple[int, ...]
    levels: str = "all"
    share_at_T: float = 0.25
    batch: int = 8
    patch_px: int = 64
    block: int = 100  # steps until it is the other's turn


def export(series: Series, plan: Plan, folder: Path) -> None:
    """Put the series, normalised, and the draws of every seed where both sides read them."""
    folder.mkdir(parents=True, exist_ok=True)
    train = Images(series, "frame", "cpu").train_with_target.numpy()
    others = {split: series.x(split) for split in batches.SPLITS}
    batches.write(folder, {"train": train, **others}, {"T": series.T, "patch_px": plan.patch_px})
    num_fields, _, height, width = train.shape
    share = plan.share_at_T if plan.levels == "all" else 1.0
    for seed in (SEARCH_SEED, *plan.seeds):
        num_steps = plan.num_search_steps if seed == SEARCH_SEED else plan.num_steps
        shape = (num_fields, height, width)
        drawn = batches.draw(num_steps, plan.batch, shape, plan.patch_px, series.T, share, seed)
        batches.write_draws(folder, seed, drawn)


class Comparison:
    """The sides and the data set that they are compared on."""

    def __init__(self, series: Series, plan: Plan, folder: Path, sides: Mapping[str, Side]):
        self.series, self.plan, self.folder, self.sides = series, plan, folder, sides
        self.references = {
            split: metrics.Reference(reference(series, split), series.truth(split) is not None)
            for split in batches.SPLITS
        }

    def begin(self, name: str, method: str, setting: dict[str, Any], seed: int, num_steps: int) -> dict[str, Any]:
        """Make a side's network anew; its number of parameters."""
        return self.sides[name].ask(
            "begin", method=method, setting=setting, seed=seed, num_steps=num_steps, folder=str(self.folder)
        )

    def chosen(self, method: str, settings: Mapping[str, Sequence[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
        """Of each side's settings the one with the highest PSNR at T on the validation fields, and what each had."""
        tried: dict[str, list[float]] = {name: [] for name in self.sides}
        for number in range(max(map(len, settings.values()))):
            running = {name: own[number] for name, own in settings.items() if number < len(own)}
            trained = self._train_those_that_can(method, running)
            for name in running:
                scores = self._scores(name, "validation", [self.series.T])["psnr"] if name in trained else [-math.inf]
                tried[name].append(scores[-1])
            reached = ", ".join(f"{name} {tried[name][-1]:.2f} dB with {running[name]}" for name in running)
            _say(f"{method}: {reached}")
        return {
            name: {"setting": _best(own, tried[name]), "tried": [*zip(own, tried[name], strict=True)], "diverged": []}
            for name, own in settings.items()
        }

    def confirmed(self, method: str, found: dict[str, dict[str, Any]], seed: int) -> dict[str, dict[str, Any]]:
        """Each side's figures of one seed: parameters, seconds of each step, scores on the test fields by level.

        found: of `chosen`. A side whose network diverges is trained again with its next best setting, which it keeps
        for the seeds that come; what it left is noted under `diverged`.
        """
        try:
            figures = self._train(
                method, {name: one["setting"] for name, one in found.items()}, seed, self.plan.num_steps
            )
        except Diverged as error:
            one = found[error.name]
            one["diverged"].append(one["setting"])
            left = [(setting, psnr) for setting, psnr in one["tried"] if setting not in one["diverged"]]
            if not left:
                raise
            one["setting"] = _best(*zip(*left, strict=True))
            _say(f"{method}, seed {seed}: {error}; again with {one['setting']}")
            return self.confirmed(method, found, seed)
        levels = [*range(1, self.series.T + 1)]
        for name in figures:
            figures[name] |= self._scores(name, "test", levels)
        reached = ", ".join(f"{name} {found['psnr'][-1]:.2f} dB" for name, found in figures.items())
        _say(f"{method}, seed {seed}: {reached} at T")
        return figures

    def _train_those_that_can(self, method: str, settings: Mapping[str, dict[str, Any]]) -> set[str]:
        """Names of the sides whose networks came to their end; what diverges is left out, the other begun again."""
        running = dict(settings)
        while running:
            try:
                self._train(method, running, SEARCH_SEED, self.plan.num_search_steps)
                break
            except Diverged as error:
                _say(f"{method}: {error}, with {running.pop(error.name)}")
        return {*running}

    def _train(
        self, method: str, settings: Mapping[str, dict[str, Any]], seed: int, num_steps: int
    ) -> dict[str, dict[str, Any]]:
        figures: dict[str, dict[str, Any]] = {}
        for name, setting in settings.items():
            begun = self.begin(name, method, setting, seed, num_steps)
            figures[name] = {**begun, "wall_s": [], "cpu_s": []}
        order = list(settings)
        for done in range(0, num_steps, self.plan.block):
            for name in order:
                spent = self.sides[name].ask("go_on", num_steps=min(self.plan.block, num_steps - done))
                for clock, seconds in spent.items():
                    figures[name][clock] += seconds
            order.reverse()  # so that neither is always the first after a change of the machine's load
        return figures

    def _scores(self, name: str, split: str, levels: list[int]) -> dict[str, list[float]]:
        into = self.folder / f"restored_{name}.npy"
        self.sides[name].ask("restore", split=split, levels=levels, into=str(into))
        found: dict[str, list[float]] = {"psnr": [], "psnr_ri": []}
        for x0_hat in torch.from_numpy(np.load(into)):
            found["psnr"].append(float(metrics.psnr(x0_hat, self.references[split]).mean()))
            found["psnr_ri"].append(float(metrics.psnr_ri(x0_hat, self.references[split]).mean()))
        return found


def _best(settings: Sequence[dict[str, Any]], psnr: Sequence[float]) -> dict[str, Any]:
    return settings[int(np.argmax(psnr))]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
