"""Stage `iterative`: trains nothing; runs the loops (Eq. 17-23) for a batch of configurations on frozen networks.

All configurations that begin at one level start from the same latents, and what draws random numbers (the samples of
the baseline HDN) draws them from the execution's seed: differences between configurations are paired, field by field.
A loop is compared with the baselines at the level that it begins at.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from dehazing.pipeline.stage import Context
from dehazing.stages import weights
from dehazing.stages.bounds import require
from dehazing.stages.configuration import Configuration, begun, require_names
from dehazing.stages.degrader import one_step_errors
from dehazing.stages.fields import Scored, fields_of
from dehazing.stages.kept_pictures import KeptPictures
from dehazing.stages.lineage import require_latents_of
from dehazing.stages.loop_domain import NEEDS, LoopDomain
from dehazing.stages.loops import walked
from dehazing.stages.one_step import CONTROLS, controls_of_one_step
from dehazing.stages.scores import Columns, Table
from dehazing.stages.space import DOMAINS
from dehazing.sweep import NETWORKS, Symbol, calls

BASELINES = ("unet", "nafnet", "hdn")


@dataclass(frozen=True)
class Config:
    """What one execution evaluates."""

    configurations: tuple[Configuration, ...] = (Configuration(),)
    # fixed
    split: str = "validation"  # validation | test
    num_examples: int = 3  # fields whose pictures are kept
    # for the confirmation: every level of the baselines, all controls, HDN's samples, pictures, the dear metrics
    full: bool = False
    average_turns: bool = False  # there, every one-shot method as the mean over eight orientations of x_T, too

    def __post_init__(self) -> None:
        require(self, not_negative=("num_examples",), choices={"split": ("validation", "test")})
        require_names(self.configurations)


def needs(config: Config) -> tuple[str, ...]:
    """Roles of the upstream stages: all baselines, the HVAE for its ceiling, what each domain needs, every degrader."""
    roles = [*BASELINES, "hvae", *(NEEDS["latents"] if config.full else ())]
    for configuration in config.configurations:
        roles += NEEDS[configuration.domain]
        if configuration.has_G:
            roles.append(configuration.degrader)
    return tuple(dict.fromkeys(roles))


def joined(configs: Sequence[Config]) -> Config:
    """One Config that holds the distinct configurations of several, numbered; ValueError where they differ in more."""
    first = configs[0]
    distinct: dict[str, Configuration] = {}
    for config in configs:
        if dataclasses.replace(config, configurations=first.configurations) != first:
            raise ValueError(
                f"What runs as one batch must agree in all but the configurations, but {config} and {first} do not."
            )
        distinct |= {configuration.key: configuration for configuration in config.configurations}
    numbered = (dataclasses.replace(one, name=str(number)) for number, one in enumerate(distinct.values()))
    return dataclasses.replace(first, configurations=tuple(numbered))


class Stage:
    """Evaluates all configurations on one split; its single epoch is the evaluation.

    called: how often R, G and P were called, each on all fields.
    """

    num_epochs = 1

    def __init__(self, config: Config, context: Context):
        named = {one.degrader for one in config.configurations if one.has_G and one.domain == "latents"}
        in_latents = ("restorer", *sorted(named)) if "restorer" in needs(config) else ()
        trained = {role: context.upstreams[role] for role in in_latents}
        require_latents_of(context.upstreams["hvae"], trained)
        self.config, self.context, self.epoch = config, context, 0
        self.fields = fields_of(context.series, config.split, context.device)
        self._begun(config)  # before anything is computed
        self.final: dict[str, float] = {}
        self.called: Counter[str] = Counter()
        self._trajectories: dict[str, Any] = {}  # of symbols, by the configuration's key
        self._of_images: dict[Symbol, Columns] = {}  # scores of Dec(z0_hat)
        self._of_latents: dict[tuple[Symbol, int], Columns] = {}  # of z_t against the true latent of level t
        self._pictures = KeptPictures(config.num_examples)  # Dec(z0_hat), where pictures are kept
        self._one_step: list[dict[str, Any]] = []

    @torch.no_grad()
    def train_epoch(self) -> dict[str, float]:
        self._pictures.stand_against(self._one_shots(self.config).rows, BASELINES)
        for name in DOMAINS:
            chosen = [one for one in self._begun(self.config) if one.domain == name]
            if chosen:
                self._run(self._domain(name), chosen)
        self.final = self._final(self.config, self._table(self.config))
        self.epoch = 1
        return dict(self.final)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to go on from: an evaluation is one epoch."""

    def finish(self) -> dict[str, bytes]:
        ((files, self.final),) = self.finish_each([self.config])
        return files

    def finish_each(self, configs: Sequence[Config]) -> list[tuple[dict[str, bytes], dict[str, float]]]:
        """Files and final metrics of each of the Configs that were joined into this stage's, as it would have alone."""
        finished = []
        for config in configs:
            table = self._table(config)
            files = {"evaluation.parquet": table.parquet()}
            if config.full:
                space = self.fields.latent_space(self._domain("latents"))
                files["latent_space.json"] = json.dumps(space, indent=1).encode()
                files["path.json"] = json.dumps(self.fields.path(self._domain("latents")), indent=1).encode()
                files["examples.safetensors"] = safetensors.torch.save(self._examples(config))
                records = {"one_step": self._one_step_of(config), **self._one_shots(config).records}
                records["extremes"] = self._pictures.record(self._ends(config), self.fields.names)
                files |= {f"{name}.json": json.dumps(record, indent=1).encode() for name, record in records.items()}
            finished.append((files, self._final(config, table)))
        return finished

    def _one_shots(self, config: Config) -> Scored:
        starts = {one.starts_at(self.fields.T) for one in self._begun(config)}
        context = self.context
        return self.fields.one_shots(context.upstreams, context.seed, config.full, config.average_turns, [*starts])

    def _domain(self, name: str) -> LoopDomain:
        return LoopDomain(name, self.context.upstreams, self.context.device, weights.kept)

    def _begun(self, config: Config) -> tuple[Configuration, ...]:
        return begun(config.configurations, self.fields.T)

    def _run(self, domain: LoopDomain, configurations: list[Configuration]) -> None:
        """The trajectories of one domain's configurations, those from each level together."""
        fields, T = self.fields, self.fields.T
        degraders = self._degraders(domain, configurations)
        if self.config.full:
            z, haze_alpha = fields.encoded(domain), fields.haze_alpha(domain)
            errors = {role: one_step_errors(G, anchor, z) for role, (G, anchor) in degraders.items()}
            self._one_step += controls_of_one_step(errors, z, haze_alpha, domain.domain)
        for start in range(T, 0, -1):
            chosen = [one for one in configurations if one.starts_at(T) == start]
            if not chosen:
                continue
            see = self._pictures.see if self.config.full and start == T else None
            found = walked(fields, domain, start, chosen, degraders, self.config.full, see)
            self._trajectories |= {one.key: walk for one, walk in zip(chosen, found.trajectories, strict=True)}
            self._of_images |= found.images
            self._of_latents |= found.latents
            self.called += found.called

    def _degraders(self, domain: LoopDomain, configurations: list[Configuration]) -> dict[str, tuple[Any, str]]:
        """role → (G, what it is anchored on), for every degrader that a configuration names."""
        degraders: dict[str, tuple[Any, str]] = {}
        for configuration in configurations:
            role = configuration.degrader
            if not configuration.has_G or role in degraders:
                continue
            folder = self.context.upstreams[role]
            trained = json.loads((folder / "config.json").read_text())["config"]
            if trained["domain"] != domain.domain:
                raise ValueError(
                    f"The degrader {role!r} was trained in {trained['domain']}, but the configuration "
                    f"{configuration.label!r} runs in {domain.domain}."
                )
            degraders[role] = (weights.kept(folder, self.context.device), trained["anchor"])
        return degraders

    def _table(self, config: Config) -> Table:
        table, T = Table(self.fields.names, self.fields.refused() if config.full else {}), self.fields.T
        for row in self._one_shots(config).rows:
            table.add(*row)
        for configuration in self._begun(config):
            trajectory, start = self._trajectories[configuration.key], configuration.starts_at(T)
            for k, (z_t, z0_hat) in enumerate(zip(trajectory.z, trajectory.z0_hat, strict=True)):
                level = start - k
                table.add(configuration.label, level, k, self._of_images[z0_hat], self._of_latents[z_t, level])
        if _has_teacher(config):
            for row in self.fields.teacher_forced(self._domain("latents")).rows:
                table.add(*row)
        return table

    def _final(self, config: Config, table: Table) -> dict[str, float]:
        prefix = "val" if config.split == "validation" else config.split
        T, loops = self.fields.T, self._begun(config)
        names = (*BASELINES, "input", "ceiling_frame", "ceiling_truth")
        final = {f"{prefix}/psnr_{name}": table.psnr(name, T) for name in names}
        best = {start: max(table.psnr(name, start) for name in BASELINES) for start in {o.starts_at(T) for o in loops}}
        ends = {one.label: table.psnr(one.label, 1) for one in loops}
        final |= {f"{prefix}/gap_db_{one.label}": ends[one.label] - best[one.starts_at(T)] for one in loops}
        first = loops[0].label
        final |= {f"{prefix}/gap_db": final[f"{prefix}/gap_db_{first}"], f"{prefix}/psnr": ends[first]}
        # every domain and every start has symbols of its own
        counted = calls(symbol for one in loops for part in self._trajectories[one.key] for symbol in part)
        return final | {f"calls/{name}": float(counted[name]) for name in NETWORKS}

    def _examples(self, config: Config) -> dict[str, Tensor]:
        """Pictures from T: of the first fields as all restore them, every step of the very first, loops' extremes."""
        fields = self.fields
        pictures = {"input": fields.x[:, -1], "truth": fields.reference, "frame": fields.x[:, 0]}
        pictures |= self._one_shots(config).pictures
        if _has_teacher(config):
            pictures |= fields.teacher_forced(self._domain("latents")).pictures
        steps = {}
        for one in config.configurations:
            if one.starts_at(fields.T) < fields.T:
                continue
            z0_hats = self._trajectories[one.key].z0_hat
            pictures[one.label] = self._pictures.first(z0_hats[-1])
            steps[f"{one.label}/steps"] = torch.stack([self._pictures.first(each)[0] for each in z0_hats])  # (T, Y, X)
        shown = {name: images[: config.num_examples] for name, images in pictures.items()} | steps
        whole = {name: pictures[name] for name in ("input", "truth", self._pictures.baseline)}
        shown |= self._pictures.extremes(self._ends(config), whole)
        return {
            name: images.detach().float().cpu().clone(memory_format=torch.contiguous_format)
            for name, images in shown.items()
        }

    def _ends(self, config: Config) -> dict[str, Symbol]:
        from_T = (one for one in config.configurations if one.starts_at(self.fields.T) == self.fields.T)
        return {one.label: self._trajectories[one.key].z0_hat[-1] for one in from_T}

    def _one_step_of(self, config: Config) -> list[dict[str, Any]]:
        named = {(one.domain, one.degrader) for one in config.configurations if one.has_G}
        named |= {(one.domain, control) for one in config.configurations for control in CONTROLS}
        return [record for record in self._one_step if (record["domain"], record["degrader"]) in named]


def _has_teacher(config: Config) -> bool:
    return config.full and any(one.domain == "latents" for one in config.configurations)
