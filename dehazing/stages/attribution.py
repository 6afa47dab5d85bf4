"""Stage `attribution`: trains nothing; asks of some loops through which module their error enters, and at which level.

It runs in the confirmation alone, on the test fields, and has no study: there is nothing to choose. What the numbers
mean, `dehazing.attribution` and `dehazing.error_growth` tell; where they are published, this:

- `attribution.parquet`, one row per loop, field and `what`, with the columns ERRORS: `loop`, the error of its end above
  the ceiling; `share` of a module, and of a module at a level (`module`, `level`; level 0 is all of them together);
  `rest`, what no oracle takes away; `left` and `repaired`, the error with the oracles of `module` ("E+G", or "" for
  none) in place, of the kinds `own` and `truth`; `repaired` with a level, with that one oracle; `ceiling` and `total`,
  the errors of the ceiling and of the loop's end against what is scored against.
- `growth.parquet`, one row per loop, field and level: teacher-forced and free-running errors, gains, distances from the
  manifold.
- `knowable.json`: domain → way of predicting z_s → share of its variance that is explained, s = 1 … T - 1.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from dehazing import attribution, inference
from dehazing.attribution import Attribution, Loop, Substitution
from dehazing.data.latents import Latent
from dehazing.error_growth import growth, random_directions
from dehazing.metrics.parts import error_parts
from dehazing.moments import matched
from dehazing.pipeline.stage import Context
from dehazing.stages import weights
from dehazing.stages.bounds import require
from dehazing.stages.configuration import Configuration
from dehazing.stages.fields import fields_of
from dehazing.stages.knowable import knowable
from dehazing.stages.lineage import require_latents_of
from dehazing.stages.loop_domain import NEEDS, LoopDomain
from dehazing.stages.regressor import Training
from dehazing.stages.scores import NUM_BANDS

ERRORS = ("error", "offset", *(f"band_{band}" for band in range(NUM_BANDS)))
WHOLE = -1  # stands for all levels together
PIXELS_ON_CPU, PIXELS_ON_GPU = 2**16, 2**20  # of the images behind what is held together
NUM_TRAIN = 64  # fields that the maps of `knowable` are fitted on
SEEDS_APART = 100_003  # between the random directions of an execution's fields


@dataclass(frozen=True)
class Config:
    """What one execution asks."""

    configurations: tuple[Configuration, ...] = (Configuration(),)
    # fixed
    split: str = "test"  # validation | test
    perturbation: float = 0.01  # how large a small error is, relative to the latent
    regressor_steps: int = 0  # of a trained regressor beside the linear maps of what is knowable; 0: none

    def __post_init__(self) -> None:
        choices = {"split": ("validation", "test")}
        require(self, positive=("perturbation",), not_negative=("regressor_steps",), choices=choices)
        labels = [one.label for one in self.configurations]
        if len({*labels}) < len(labels) or not labels:
            raise ValueError(
                f"Every configuration must have a name of its own, and there must be one, but got {labels}."
            )
        for one in self.configurations:
            if one.start or one.lower_starts:
                raise ValueError(f"A loop must begin at T for its error to be attributed, but {one.label!r} may not.")
            if one.variant in inference.REFINEMENTS:
                raise ValueError(
                    f"`variant` must not refine, as R must be called on z_t alone, but got {one.variant!r}."
                )


def needs(config: Config) -> tuple[str, ...]:
    """Roles of the upstream stages: the HVAE for what is knowable in its latents, and what each loop calls."""
    roles = ["hvae"]
    for one in config.configurations:
        roles += [*NEEDS[one.domain], *([one.degrader] if one.has_G else [])]
    return tuple(dict.fromkeys(roles))


class Stage:
    """Attributes the errors of all loops on one split; its single epoch is the evaluation."""

    num_epochs = 1

    def __init__(self, config: Config, context: Context):
        self.config, self.context, self.epoch = config, context, 0
        for one in config.configurations:
            if one.domain == "latents":
                roles = ("restorer", *([one.degrader] if one.has_G else []))
                require_latents_of(context.upstreams["hvae"], {role: context.upstreams[role] for role in roles})
        self.fields = fields_of(context.series, config.split, context.device)
        self.final: dict[str, float] = {}
        self._rows: list[dict[str, Any]] = []
        self._growth: list[dict[str, Any]] = []

    @torch.no_grad()
    def train_epoch(self) -> dict[str, float]:
        for one in self.config.configurations:
            self._attribute(one)
        self.final = self._final()
        self.epoch = 1
        return dict(self.final)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to go on from: an evaluation is one epoch."""

    def finish(self) -> dict[str, bytes]:
        return {
            "attribution.parquet": _parquet(self._rows),
            "growth.parquet": _parquet(self._growth),
            "knowable.json": json.dumps(self._knowable(), indent=1).encode(),
        }

    def _attribute(self, one: Configuration) -> None:
        """One loop: some fields at a time, so that memory stays bounded."""
        fields, device = self.fields, self.context.device
        domain = LoopDomain(one.domain, self.context.upstreams, device, weights.kept)
        truth = fields.series.truth(fields.split)
        true = fields.encoded(domain) if truth is None else domain.encode(torch.from_numpy(truth).to(device))
        loop = self._loop(one, domain)
        num_pixels = fields.x[0, 0].numel()
        at_once = max(1, (PIXELS_ON_GPU if fields.x.is_cuda else PIXELS_ON_CPU) // num_pixels)
        for chunk in torch.arange(len(fields.x)).split(at_once):
            levels = [tuple(group[chunk, t] for group in true) for t in range(fields.T + 1)]
            z_T = levels[-1] if truth is None else _last_level(domain.encode(fields.x[chunk, -1:]))
            self._attribute_some(one.label, Substitution(loop, z_T, levels), domain, chunk)

    def _attribute_some(self, label: str, substitution: Substitution, domain: LoopDomain, chunk: Tensor) -> None:
        fields, T = self.fields, self.fields.T
        names = [fields.names[int(i)] for i in chunk]
        ceiling, reference = fields.images(domain, substitution.true[0]), fields.reference[chunk]

        def above(z: Latent) -> Tensor:
            return error_parts(fields.images(domain, z) - ceiling)

        def P(z: Latent) -> Latent:
            return domain.E(fields.images(domain, z)[:, None])

        def directions(t: int) -> Latent:
            seeds = [(self.context.seed * SEEDS_APART + int(i)) * (T + 1) + t for i in chunk]
            return random_directions(substitution.true[t], seeds)

        found = attribution.attributed(substitution, above)
        end = fields.images(domain, substitution.run().z0_hat[-1])
        beside = [
            ("ceiling", "", WHOLE, error_parts(ceiling - reference)),
            ("total", "", WHOLE, error_parts(end - reference)),
        ]
        for what, module, level, values in [*_entries(found), *beside]:
            for name, row in zip(names, values.tolist(), strict=True):
                place = {"variant": label, "field": name, "what": what, "module": module, "level": level}
                self._rows.append(place | dict(zip(ERRORS, row, strict=True)))
        grown = growth(substitution, P, lambda z: above(z)[:, 0], directions, self.config.perturbation)
        for level, columns in grown.items():
            for i, name in enumerate(names):
                of_field = {column: float(numbers[i]) for column, numbers in columns.items()}
                self._growth.append({"variant": label, "field": name, "level": level, **of_field})

    def _loop(self, one: Configuration, domain: LoopDomain) -> Loop:
        fields, folders = self.fields, self.context.upstreams
        network: Any = None
        anchor = "none"
        if one.has_G:
            trained = json.loads((folders[one.degrader] / "config.json").read_text())["config"]
            if trained["domain"] != one.domain:
                raise ValueError(
                    f"The degrader {one.degrader!r} was trained in {trained['domain']}, but {one.label!r} runs in "
                    f"{one.domain}."
                )
            network, anchor = weights.kept(folders[one.degrader], self.context.device), trained["anchor"]

        def match(z: Latent, t: int, z_T: Latent) -> Latent:
            return matched(z, t, fields.moments(domain), z_T if one.match == "moments_of_field" else None)

        haze_alpha = fields.haze_alpha(domain).tolist() if one.variant in ("bridge", "indi") else ()
        settings = one.settings(fields.T, haze_alpha)
        return Loop(one.variant, settings, domain.R, network, anchor, match)

    def _knowable(self) -> dict[str, dict[str, list[float]]]:
        """Nothing where no level lies between the first and the last."""
        fields, series = self.fields, self.context.series
        if fields.T < 2:
            return {}
        truth, of_train = series.truth(fields.split), series.truth("train")
        known = truth is not None and of_train is not None
        images = (of_train, truth) if known else (series.x("train"), series.x(fields.split))
        x_train, x = (torch.from_numpy(one[:NUM_TRAIN]).to(self.context.device) for one in images if one is not None)
        hvae = weights.kept(self.context.upstreams["hvae"], self.context.device)
        return knowable(x, x_train, hvae, Training(num_steps=self.config.regressor_steps))

    def _final(self) -> dict[str, float]:
        """Means over the fields, of the first loop: its error above the ceiling, and each module's part of it."""
        first = self.config.configurations[0].label
        whole = [row["error"] for row in self._rows if (row["variant"], row["what"]) == (first, "loop")]
        final = {f"{self.config.split}/error_above_ceiling": sum(whole) / len(whole)}
        for module in attribution.MODULES:
            shares = [
                row["error"]
                for row in self._rows
                if (row["variant"], row["what"], row["module"], row["level"]) == (first, "share", module, WHOLE)
            ]
            if shares and sum(whole):
                final[f"{self.config.split}/share_{module}"] = sum(shares) / sum(whole)
        return final


def _last_level(z: Latent) -> Latent:
    return tuple(group[:, -1] for group in z)


def _entries(found: Attribution) -> Iterator[tuple[str, str, int, Tensor]]:
    """What, module, level and the errors (N, len(ERRORS))."""
    yield "loop", "", WHOLE, found.error
    yield "rest", "", WHOLE, found.rest
    for module, share in found.modules.items():
        yield "share", module, WHOLE, share
    for (module, level), share in found.steps.items():
        yield "share", module, level, share
    for what, errors in (("left", found.left), ("repaired", found.repaired)):
        for modules, error in errors.items():
            yield what, "+".join(name for name in attribution.MODULES if name in modules), WHOLE, error
    for (module, level), error in found.repaired_steps.items():
        yield "repaired", module, level, error


def _parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    columns = dict.fromkeys(name for row in rows for name in row)  # no level has them all
    table = pa.table({name: [row.get(name) for row in rows] for name in columns})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()
