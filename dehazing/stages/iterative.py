"""Stage `iterative`: trains nothing; runs the loops (Eq. 17-23) for a batch of configurations on frozen networks.

All configurations start from the same latents, and what draws random numbers (the samples of the baseline HDN) draws
them from the execution's seed: differences between configurations are paired, field by field.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from dehazing import inference
from dehazing.data.latents import Latent, at_level
from dehazing.moments import matched
from dehazing.pipeline.stage import Context
from dehazing.stages import weights
from dehazing.stages.bounds import require
from dehazing.stages.configuration import Configuration
from dehazing.stages.degrader import one_step_errors
from dehazing.stages.fields import Scored, fields_of
from dehazing.stages.kept_pictures import KeptPictures
from dehazing.stages.lineage import require_latents_of
from dehazing.stages.loop_domain import NEEDS, LoopDomain
from dehazing.stages.one_step import CONTROLS, controls_of_one_step
from dehazing.stages.scores import Columns, Table, concatenated, measured_images, measured_latents
from dehazing.stages.space import DOMAINS
from dehazing.sweep import NETWORKS, Operators, Sweep, Symbol, calls, evaluate, stacked

BASELINES = ("unet", "nafnet", "hdn")
# Pixels of the images behind what is held and computed together, so that memory stays bounded: on a CPU the fields of
# one trajectory at a time; on a GPU the fields of all trajectories, and those that go through a network together.
PIXELS_ON_CPU = 2**16
PIXELS_ON_GPU, PIXELS_AT_ONCE = 2**26, 2**22


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
        names = [configuration.label for configuration in self.configurations]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"Every configuration must have a name of its own, but these stand twice: {doubled}.")


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
            chosen = [one for one in self.config.configurations if one.domain == name]
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
        return self.fields.one_shots(self.context.upstreams, self.context.seed, config.full, config.average_turns)

    def _domain(self, name: str) -> LoopDomain:
        return LoopDomain(name, self.context.upstreams, self.context.device, weights.kept)

    def _run(self, domain: LoopDomain, configurations: list[Configuration]) -> None:
        """The trajectories of one domain's configurations: as symbols, then evaluated on some fields at a time."""
        fields = self.fields
        z, haze_alpha = fields.encoded(domain), fields.haze_alpha(domain)
        degraders = self._degraders(domain, configurations)
        if self.config.full:
            errors = {role: one_step_errors(G, anchor, z) for role, (G, anchor) in degraders.items()}
            self._one_step += controls_of_one_step(errors, z, haze_alpha, domain.domain)
        sweep = Sweep()
        trajectories: list[Any] = []
        for one in configurations:
            networks = sweep.networks(one.degrader, degraders[one.degrader][1] if one.has_G else "none", one.match)
            settings = one.settings(fields.T, haze_alpha.tolist())
            trajectories.append(inference.VARIANTS[one.variant](sweep.z_T, networks, settings))
            self._trajectories[one.key] = trajectories[-1]
        self._evaluate(domain, trajectories, z, {role: G for role, (G, _) in degraders.items()})

    def _evaluate(self, domain: LoopDomain, trajectories: list[Any], z: Latent, G: Mapping[str, Any]) -> None:
        """Every distinct z0_hat is decoded and scored once, every distinct z_t compared once with the true one."""
        fields, T = self.fields, self.fields.T
        levels: dict[Any, set[int]] = defaultdict(set)  # that a z_t stands at
        z0_hats: dict[Any, None] = {}
        for trajectory in trajectories:
            z0_hats |= dict.fromkeys(trajectory.z0_hat)
            for k, z_t in enumerate(trajectory.z):
                levels[z_t].add(T - k)
        wanted = list(dict.fromkeys([*z0_hats, *levels]))
        num_fields, at_once = _bounds(fields.x, len(trajectories))
        of_images: dict[Symbol, list[Columns]] = defaultdict(list)
        of_latents: dict[tuple[Symbol, int], list[Columns]] = defaultdict(list)

        def visit(latents: dict[Symbol, Latent]) -> None:
            predicted = [symbol for symbol in latents if symbol in z0_hats]
            if predicted:
                images = fields.images(domain, stacked([latents[symbol] for symbol in predicted]))
                for symbol, image in zip(predicted, images.chunk(len(predicted)), strict=True):
                    of_images[symbol].append(measured_images(image, reference, self.config.full))
                    if self.config.full:
                        self._pictures.see(symbol, chunk, image, of_images[symbol][-1]["psnr"])
            for symbol, latent in latents.items():
                for level in levels.get(symbol, ()):
                    truth = at_level(tuple(group[chunk] for group in z), level)
                    of_latents[symbol, level].append(measured_latents(latent, truth))

        def P(z: Latent) -> Latent:
            return domain.E(fields.images(domain, z)[:, None])

        def match(z: Latent, t: int, z_T: Latent | None = None) -> Latent:
            return matched(z, t, fields.moments(domain), z_T)

        operators = Operators(domain.R, G, P, match)
        for chunk in torch.arange(len(fields.x)).split(num_fields):
            z_T, reference = tuple(group[chunk, T] for group in z), fields.scored_against(chunk)
            called = evaluate(wanted, z_T, operators, visit, at_once)
        self.called += called
        self._of_images |= {symbol: concatenated(parts) for symbol, parts in of_images.items()}
        self._of_latents |= {place: concatenated(parts) for place, parts in of_latents.items()}

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
        for configuration in config.configurations:
            trajectory = self._trajectories[configuration.key]
            for k, (z_t, z0_hat) in enumerate(zip(trajectory.z, trajectory.z0_hat, strict=True)):
                table.add(configuration.label, T - k, k, self._of_images[z0_hat], self._of_latents[z_t, T - k])
        if _has_teacher(config):
            for row in self.fields.teacher_forced(self._domain("latents")).rows:
                table.add(*row)
        return table

    def _final(self, config: Config, table: Table) -> dict[str, float]:
        prefix = "val" if config.split == "validation" else config.split
        best = max(table.psnr(name, self.fields.T) for name in BASELINES)
        names = (*BASELINES, "input", "ceiling_frame", "ceiling_truth")
        final = {f"{prefix}/psnr_{name}": table.psnr(name, self.fields.T) for name in names}
        ends = {one.label: table.psnr(one.label, 1) for one in config.configurations}
        final |= {f"{prefix}/gap_db_{label}": end - best for label, end in ends.items()}
        first = config.configurations[0].label
        final |= {f"{prefix}/gap_db": ends[first] - best, f"{prefix}/psnr": ends[first]}
        counted: Counter[str] = Counter()
        for name in DOMAINS:  # every domain has symbols of its own
            chosen = [self._trajectories[one.key] for one in config.configurations if one.domain == name]
            counted += Counter(calls(symbol for trajectory in chosen for part in trajectory for symbol in part))
        return final | {f"calls/{name}": float(counted[name]) for name in NETWORKS}

    def _examples(self, config: Config) -> dict[str, Tensor]:
        """Pictures of the first fields as all restore them, every step of the very first, and each loop's extremes."""
        fields = self.fields
        pictures = {"input": fields.x[:, -1], "truth": fields.reference, "frame": fields.x[:, 0]}
        pictures |= self._one_shots(config).pictures
        if _has_teacher(config):
            pictures |= fields.teacher_forced(self._domain("latents")).pictures
        steps = {}
        for one in config.configurations:
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
        return {one.label: self._trajectories[one.key].z0_hat[-1] for one in config.configurations}

    def _one_step_of(self, config: Config) -> list[dict[str, Any]]:
        named = {(one.domain, one.degrader) for one in config.configurations if one.has_G}
        named |= {(one.domain, control) for one in config.configurations for control in CONTROLS}
        return [record for record in self._one_step if (record["domain"], record["degrader"]) in named]


def _bounds(x: Tensor, num_trajectories: int) -> tuple[int, int]:
    """How many fields of x (N, T + 1, Y, X) are evaluated at a time, and how many latents share a call of a network.

    On a CPU neither depends on what else is evaluated, so that a configuration gives the same in any batch.
    """
    num_pixels = x[0, 0].numel()
    if not x.is_cuda:
        return max(1, PIXELS_ON_CPU // num_pixels), 1
    num_fields = min(len(x), max(1, PIXELS_ON_GPU // (num_pixels * num_trajectories)))
    return num_fields, max(1, PIXELS_AT_ONCE // (num_pixels * num_fields))


def _has_teacher(config: Config) -> bool:
    return config.full and any(one.domain == "latents" for one in config.configurations)
