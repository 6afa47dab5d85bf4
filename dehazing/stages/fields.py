"""The fields of one split and what frozen networks make of them, kept for the next evaluation in the same process.

A published folder is named by the fingerprint of all that made it and is never changed, so its path stands for its
content. A series is known by its object, which is held as long as what was made of it, and whatever draws random
numbers is kept by its seed too. So what is kept is what would be computed again, to the bit.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from dehazing import schedules
from dehazing.data.latents import Latent, at_level
from dehazing.data.series import Series
from dehazing.metrics.reference import Reference
from dehazing.moments import Moments, moments_of
from dehazing.stages import posterior_mean, predictions, weights
from dehazing.stages.classical import Controls, chosen_controls
from dehazing.stages.images import reference
from dehazing.stages.latent_space import latent_space
from dehazing.stages.loop_domain import LoopDomain
from dehazing.stages.path import both_walked
from dehazing.stages.posterior import measured_posterior
from dehazing.stages.scores import Columns, measured_images, measured_latents, refused
from dehazing.stages.turns import TURNED, averaged_over_turns

KEPT = 2  # of each kind: splits, and of a split the latents, what is fitted and scores
Made = TypeVar("Made")
Restore = Callable[[Tensor], Tensor]  # images (N, Y, X) of one level to their clean ones


class Row(NamedTuple):
    """What `Table.add` takes: the scores of one variant at one level."""

    variant: str
    level: int
    step: int
    images: Columns
    latents: Columns | None = None


class Scored(NamedTuple):
    """Scores that no configuration changes, and pictures by name, (N, Y, X) each."""

    rows: list[Row]
    pictures: dict[str, Tensor]
    records: dict[str, Any]  # what is to be told beside the table: hdn_samples, classical


class Fields:
    """The fields of a split on the device: x (N, T + 1, Y, X), what is scored against: reference (N, Y, X)."""

    def __init__(self, series: Series, split: str, device: str):
        self.series, self.split, self.device, self.T = series, split, device, series.T
        self.names = series.names(split)
        self.x = torch.from_numpy(series.x(split)).to(device)
        self.reference = reference(series, split).to(device)
        self.is_truth = series.truth(split) is not None  # or the clean frames, which is all that a real series has
        self._kept: dict[str, OrderedDict[Hashable, Any]] = {}

    def encoded(self, domain: LoopDomain) -> Latent:
        """E of every field and level; a tuple of (N, T + 1, C_i, h_i, w_i)."""
        return self._once("encoded", domain.encoder, lambda: domain.encode(self.x))

    def haze_alpha(self, domain: LoopDomain, num_fields: int = 8, start: int = 0) -> Tensor:
        """haze_alpha of Eq. 2 between levels 0 and start (0: T), (start + 1,), fitted on training fields."""

        def fit() -> list[Tensor]:
            z = torch.cat([group.flatten(2) for group in self._encoded_train(domain, num_fields)], 2)
            return [schedules.fitted(z[:, : s + 1]) for s in range(1, self.T + 1)]

        return self._once("haze_alpha", (domain.encoder, num_fields), fit)[(start or self.T) - 1]

    def moments(self, domain: LoopDomain, num_fields: int = 32, start: int = 0) -> Moments:
        """The moments of every level up to start (0: T), of training fields; more of them, as they differ much."""

        def measure() -> list[Moments]:
            z = self._encoded_train(domain, num_fields)
            return [moments_of(tuple(group[:, : s + 1] for group in z)) for s in range(1, self.T + 1)]

        return self._once("moments", (domain.encoder, num_fields), measure)[(start or self.T) - 1]

    def images(self, domain: LoopDomain, z: Latent) -> Tensor:
        """Dec(z), cropped to the fields; (N, Y, X)."""
        return domain.Dec(z)[:, 0, : self.x.shape[-2], : self.x.shape[-1]]

    def scored_against(self, chosen: Tensor | slice = slice(None)) -> Reference:
        """The reference of some fields, with room for what the scores of several predictions share."""
        return Reference(self.reference[chosen], self.is_truth)

    def refused(self) -> dict[str, str]:
        """Column of the evaluation table → why its metric does not apply to these fields."""
        of_each = (self.scored_against(slice(i, i + 1)) for i in range(len(self.x)))
        return self._once("refused", (), lambda: refused(of_each))

    def one_shots(
        self,
        upstreams: Mapping[str, Path],
        seed: int,
        full: bool,
        average_turns: bool = False,
        levels: Sequence[int] = (),
    ) -> Scored:
        """What takes one step, from T and the levels, or every one: input, baselines; at T the ceilings, the pictures.

        `autoencoded` is Dec(E(x_t)), the latent route without restoration; the ceilings are Dec(E(x_0)), of the
        acquired frame and of what is scored against. full: fully scored, from every level, and at T the classical
        controls and HDN's samples; average_turns: and at T every method averaged over its turns.
        """
        folders = {name: upstreams[name] for name in ("unet", "nafnet", "hdn", "hvae")}
        asked = tuple(sorted({self.T, *(range(1, self.T) if full else levels)}, reverse=True))
        key = (*folders.values(), seed, full, average_turns, asked)
        return self._once("one_shots", key, lambda: self._one_shots(folders, seed, full, average_turns, asked))

    def classical_controls(self) -> Controls:
        """The classical controls, their settings chosen on training fields."""
        return self._once("classical", (), lambda: chosen_controls(self.series))

    def teacher_forced(self, domain: LoopDomain) -> Scored:
        """Control: R on the true latent of every level, what the loop would give with an oracle for G; fully scored."""
        return self._once("teacher_forced", domain.folders, lambda: self._teacher_forced(domain))

    def latent_space(self, domain: LoopDomain, num_fields: int = 32) -> list[dict[str, Any]]:
        """What each group of the latents is good for, and how much of them training fields did not show."""

        def measure() -> list[dict[str, Any]]:
            truth = self.series.truth(self.split)
            images = self.x if truth is None else torch.from_numpy(truth).to(self.device)
            return latent_space(domain.hvae, images, self.encoded(domain), self._encoded_train(domain, num_fields))

        return self._once("latent_space", (domain.encoder, num_fields), measure)

    def path(self, domain: LoopDomain, num_fields: int = 32) -> list[dict[str, Any]]:
        """How the series walks from level to level, as images and as latents; of noise-free levels where known."""

        def measure() -> list[dict[str, Any]]:
            seen = {"frames": (self.x, self._train(num_fields))}
            truth, of_train = self.series.truth(self.split), self.series.truth("train")
            if truth is not None and of_train is not None:
                seen["truth"] = (
                    torch.from_numpy(truth).to(self.device),
                    torch.from_numpy(of_train[:num_fields]).to(self.device),
                )
            return [one for name, (x, x_train) in seen.items() for one in both_walked(x, x_train, domain.encode, name)]

        return self._once("path", (domain.encoder, num_fields), measure)

    @torch.no_grad()
    def _one_shots(
        self, folders: Mapping[str, Path], seed: int, full: bool, average_turns: bool, levels: Sequence[int]
    ) -> Scored:
        networks = {name: weights.kept(folder, self.device) for name, folder in folders.items()}
        num_samples = json.loads((folders["hdn"] / "config.json").read_text())["config"]["num_samples"]
        scored, T, against = Scored([], {}, {}), self.T, self.scored_against()
        for level in levels:
            x_t = self.x[:, level]
            methods: dict[str, Restore] = {
                "unet": lambda x, level=level: predictions.restore(networks["unet"], x, level),  # type: ignore[misc]
                "nafnet": lambda x, level=level: predictions.restore(networks["nafnet"], x, level),  # type: ignore[misc]
                "hdn": lambda x: posterior_mean.restore(networks["hdn"], x, num_samples, seed),
            }
            if full and level == T:
                methods |= {choice.control: choice for choice in self.classical_controls().chosen}
            images = {"input": x_t, "autoencoded": predictions.reconstruct(networks["hvae"], x_t)}
            images |= {name: restore(x_t) for name, restore in methods.items()}
            if full and average_turns and level == T:
                turned = {name + TURNED: averaged_over_turns(restore, x_t) for name, restore in methods.items()}
                images |= turned
            scored.pictures.update({} if scored.pictures else images)
            scored.rows.extend(
                Row(name, level, T - level, measured_images(restored, against, full))
                for name, restored in images.items()
            )
        if full:
            drawn = posterior_mean.samples(networks["hdn"], self.x[:, T], num_samples, seed)
            scored.records["hdn_samples"] = {"level": T, **measured_posterior(drawn, against)}
            scored.records["classical"] = {"level": T, **self.classical_controls().record()}
        for name, clean in (("ceiling_frame", self.x[:, 0]), ("ceiling_truth", self.reference)):
            scored.pictures[name] = predictions.reconstruct(networks["hvae"], clean)
            scored.rows.append(Row(name, T, 0, measured_images(scored.pictures[name], against, full)))
        return scored

    @torch.no_grad()
    def _teacher_forced(self, domain: LoopDomain) -> Scored:
        z, against = self.encoded(domain), self.scored_against()
        restored = domain.restored(z)
        rows = []
        for level in range(self.T, 0, -1):
            per_field = [tuple(part[i : i + 1, level] for part in restored) for i in range(len(self.x))]
            images = torch.cat([self.images(domain, z0_hat) for z0_hat in per_field])
            z_t = at_level(z, level)
            measured = measured_images(images, against, full=True), measured_latents(z_t, z_t)
            rows.append(Row("teacher_forced", level, self.T - level, *measured))
        return Scored(rows, {"teacher_forced": images}, {})

    def _encoded_train(self, domain: LoopDomain, num_fields: int) -> Latent:
        return domain.encode(self._train(num_fields))

    def _train(self, num_fields: int) -> Tensor:
        return torch.from_numpy(self.series.x("train")[:num_fields]).to(self.device)

    def _once(self, kind: str, key: Hashable, make: Callable[[], Made]) -> Made:
        kept = self._kept.setdefault(kind, OrderedDict())
        if key not in kept:
            kept[key] = make()
        kept.move_to_end(key)
        while len(kept) > KEPT:
            kept.popitem(last=False)
        return kept[key]


_fields: list[Fields] = []  # the latest last


def fields_of(series: Series, split: str, device: str) -> Fields:
    """The fields of a split, with all that was made of them where they are among the last that were asked for."""
    found = [one for one in _fields if one.series is series and (one.split, one.device) == (split, device)]
    fields = found[0] if found else Fields(series, split, device)
    _fields[:] = [*(one for one in _fields if one is not fields), fields][-KEPT:]
    return fields


def forget() -> None:
    """Drop all that is kept, as a new process would have it."""
    _fields.clear()
    weights.kept.cache_clear()


def forget_scores() -> None:
    """Drop the scores that are kept, not the networks and latents."""
    for fields in _fields:
        for kind in ("one_shots", "teacher_forced"):
            fields._kept.pop(kind, None)
