"""Stage `iterative`: trains nothing; runs the loops (Eq. 17-23) for a batch of configurations on frozen networks."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from dehazing import inference, schedules
from dehazing.data.latents import Latent, at_level
from dehazing.pipeline.stage import Context
from dehazing.stages import weights
from dehazing.stages.bounds import require
from dehazing.stages.degrader import bind, one_step_errors
from dehazing.stages.images import reference
from dehazing.stages.loop_domain import DOMAINS, NEEDS, LoopDomain
from dehazing.stages.one_step import controls_of_one_step
from dehazing.stages.scores import Scores, one_shot_scores

BASELINES = ("unet", "hdn")
PIXELS_AT_ONCE = 2**18  # of the images behind one batch of the loop, so that memory stays bounded


@dataclass(frozen=True)
class Configuration:
    """One way to iterate, with its settings; those that the variant does not use are left at their defaults."""

    # scientific
    variant: str = "direct"  # of inference.VARIANTS
    alpha: dict[str, Any] = field(default_factory=lambda: {"kind": "sigmoid"})  # combine_alpha, Eq. 22-23
    direction: str = "rising"
    reference: str = "previous"
    num_refinements: int = 1
    refine_level: str = "same"
    # fixed
    degrader: str = "degrader"  # role of the upstream degrader; unused by the variants without G
    domain: str = "latents"
    name: str = ""  # in the tables; empty: the variant's

    def __post_init__(self) -> None:
        for key, value, valid in (
            ("variant", self.variant, tuple(inference.VARIANTS)),
            ("reference", self.reference, inference.REFERENCES),
            ("refine_level", self.refine_level, inference.REFINE_LEVELS),
            ("domain", self.domain, DOMAINS),
        ):
            if value not in valid:
                raise ValueError(f"`{key}` must be one of {', '.join(valid)}, but got {value!r}.")
        if self.num_refinements < 0:
            raise ValueError(f"`num_refinements >= 0` must hold, but got {self.num_refinements}.")
        schedules.combine_alpha(self.alpha, 2, self.direction)

    @property
    def label(self) -> str:
        return self.name or self.variant


@dataclass(frozen=True)
class Config:
    """What one execution evaluates."""

    configurations: tuple[Configuration, ...] = (Configuration(),)
    # fixed
    split: str = "validation"  # validation | test
    num_examples: int = 3  # fields whose pictures are kept
    full: bool = False  # for the confirmation: every level of the baselines, the controls of one step, pictures

    def __post_init__(self) -> None:
        require(self, not_negative=("num_examples",), choices={"split": ("validation", "test")})
        names = [configuration.label for configuration in self.configurations]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"Every configuration must have a name of its own, but these stand twice: {doubled}.")


def needs(config: Config) -> tuple[str, ...]:
    """Roles of the upstream stages: both baselines, the latent space, and every degrader that is named."""
    roles = [*BASELINES, *NEEDS["latents"]]
    for configuration in config.configurations:
        roles += NEEDS[configuration.domain]
        if configuration.variant not in inference.WITHOUT_G:
            roles.append(configuration.degrader)
    return tuple(dict.fromkeys(roles))


class Stage:
    """Evaluates all configurations on one split; its single epoch is the evaluation."""

    num_epochs = 1

    def __init__(self, config: Config, context: Context):
        self.config, self.context, self.epoch = config, context, 0
        self.series, device = context.series, context.device
        self.x = torch.from_numpy(self.series.x(config.split)).to(device)  # (N, T + 1, Y, X)
        self.reference = reference(self.series, config.split).to(device)  # (N, Y, X)
        self.scores = Scores(self.reference, self.series.names(config.split))
        self.pictures: dict[str, Tensor] = {"input": self.x[:, -1], "truth": self.reference, "frame": self.x[:, 0]}
        self.one_step: list[dict[str, Any]] = []
        self.final: dict[str, float] = {}

    @torch.no_grad()
    def train_epoch(self) -> dict[str, float]:
        T = self.series.T
        hvae = weights.load(self.context.upstreams["hvae"], self.context.device)
        self.pictures |= one_shot_scores(
            self.scores,
            self.x,
            self.reference,
            self.context.upstreams,
            hvae,
            self.context.seed,
            every_level=self.config.full,
        )
        for domain_name in DOMAINS:
            chosen = [c for c in self.config.configurations if c.domain == domain_name]
            if chosen:
                self._run_domain(LoopDomain(domain_name, self.context.upstreams, self.context.device), chosen)
        prefix = "val" if self.config.split == "validation" else self.config.split
        best = max(self.scores.mean(name, "psnr", T) for name in BASELINES)
        for name in (*BASELINES, "input", "ceiling_frame", "ceiling_truth"):
            self.final[f"{prefix}/psnr_{name}"] = self.scores.mean(name, "psnr", T)
        for configuration in self.config.configurations:
            end = self.scores.mean(configuration.label, "psnr", 1)
            self.final[f"{prefix}/gap_db_{configuration.label}"] = end - best
        first = self.config.configurations[0]
        self.final[f"{prefix}/gap_db"] = self.final[f"{prefix}/gap_db_{first.label}"]
        self.final[f"{prefix}/psnr"] = self.scores.mean(first.label, "psnr", 1)
        self.epoch = 1
        return dict(self.final)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to go on from: an evaluation is one epoch."""

    def finish(self) -> dict[str, bytes]:
        files = {"evaluation.parquet": self.scores.parquet()}
        if self.config.full:
            num = self.config.num_examples
            kept = {name: images if name.endswith("/steps") else images[:num] for name, images in self.pictures.items()}
            tensors = {
                name: images.detach().float().cpu().clone(memory_format=torch.contiguous_format)
                for name, images in kept.items()
            }
            files["examples.safetensors"] = safetensors.torch.save(tensors)
            files["one_step.json"] = json.dumps(self.one_step, indent=1).encode()
        return files

    def _run_domain(self, domain: LoopDomain, configurations: list[Configuration]) -> None:
        T = self.series.T
        z = domain.encode(self.x)
        x_train = torch.from_numpy(self.series.x("train")).to(self.x.device)
        haze_alpha = _fitted_alpha(domain, x_train)
        operators = self._operators(domain, configurations, z)
        if self.config.full:
            named = {role: one_step_errors(G, anchor, z) for role, (G, anchor) in operators.items()}
            self.one_step += controls_of_one_step(named, z, haze_alpha, domain.domain)
        for group in _groups(configurations):
            self._run_group(domain, group, z, haze_alpha, operators)
        if self.config.full and domain.domain == "latents":
            self._run_teacher_forced(domain, z, T)

    def _operators(
        self, domain: LoopDomain, configurations: Iterable[Configuration], z: Latent
    ) -> dict[str, tuple[Any, str]]:
        """role → (G, what it is anchored on), for every degrader that a configuration names."""
        operators: dict[str, tuple[Any, str]] = {}
        for configuration in configurations:
            role = configuration.degrader
            if configuration.variant in inference.WITHOUT_G or role in operators:
                continue
            folder = self.context.upstreams[role]
            trained = json.loads((folder / "config.json").read_text())["config"]
            if trained["domain"] != domain.domain:
                raise ValueError(
                    f"The degrader {role!r} was trained in {trained['domain']}, but the configuration "
                    f"{configuration.label!r} runs in {domain.domain}."
                )
            operators[role] = (weights.load(folder, self.context.device), trained["anchor"])
        return operators

    def _run_group(
        self,
        domain: LoopDomain,
        group: list[Configuration],
        z: Latent,
        haze_alpha: Tensor,
        operators: dict[str, tuple[Any, str]],
    ) -> None:
        """Configurations of one variant and one degrader as one batch, field by field so that memory stays bounded."""
        T, first = self.series.T, group[0]
        alphas = torch.stack([schedules.combine_alpha(c.alpha, T, c.direction) for c in group], 1).to(self.x.device)
        settings = inference.Settings(
            T,
            combine_alpha=alphas,
            num_refinements=torch.tensor([c.num_refinements for c in group], device=self.x.device),
            haze_alpha=haze_alpha,
            reference=first.reference,
            refine_level=first.refine_level,
        )
        predictions, latents = [], []
        at_once = max(1, PIXELS_AT_ONCE // (len(group) * self.x[0, 0].numel()))
        for chunk in torch.arange(len(self.x)).split(at_once):
            trajectory = self._trajectory(domain, group, tuple(part[chunk, T] for part in z), settings, operators)
            predictions.append(torch.stack([self._images(domain, z0_hat) for z0_hat in trajectory.z0_hat]))
            latents.append(trajectory.z)
        images = torch.cat(
            [part.unflatten(1, (len(group), -1)) for part in predictions], 2
        )  # (T, configurations, N, Y, X)
        for k in range(T):
            level = T - k
            z_true = at_level(z, level)
            z_k = [torch.cat([part[k][g].unflatten(0, (len(group), -1)) for part in latents], 1) for g in range(len(z))]
            for c, configuration in enumerate(group):
                self.scores.add(configuration.label, level, k, images[k, c], (tuple(part[c] for part in z_k), z_true))
        for c, configuration in enumerate(group):
            self.pictures[configuration.label] = images[-1, c]
            self.pictures[f"{configuration.label}/steps"] = images[:, c, 0]  # of the first field, (T, Y, X)

    def _trajectory(
        self,
        domain: LoopDomain,
        group: list[Configuration],
        z_T: Latent,
        settings: inference.Settings,
        operators: dict[str, tuple[Any, str]],
    ) -> inference.Trajectory:
        """The loop on some fields, for every configuration of the group: a batch ordered (configurations, fields)."""
        first, num = group[0], len(z_T[0])
        z_T = tuple(part.repeat(len(group), 1, 1, 1) for part in z_T)
        per_sample = dataclasses.replace(
            settings,
            combine_alpha=settings.combine_alpha.repeat_interleave(num, 1),
            num_refinements=settings.num_refinements.repeat_interleave(num),
        )
        G: Any = None if first.variant in inference.WITHOUT_G else bind(*operators[first.degrader], z_T)
        height, width = self.x.shape[-2:]

        def P(z: Latent) -> Latent:
            return domain.E(domain.Dec(z)[..., :height, :width])

        return inference.VARIANTS[first.variant](z_T, inference.Networks(domain.R, G, P), per_sample)

    def _images(self, domain: LoopDomain, z: Latent) -> Tensor:
        """Dec(z), cropped to the fields; (N, Y, X)."""
        return domain.Dec(z)[:, 0, : self.x.shape[-2], : self.x.shape[-1]]

    def _run_teacher_forced(self, domain: LoopDomain, z: Latent, T: int) -> None:
        """Control: R on the true latent of every level, what the loop would give with an oracle for G."""
        restored = domain.restored(z)
        for level in range(T, 0, -1):
            per_field = [tuple(part[i : i + 1, level] for part in restored) for i in range(len(self.x))]
            images = torch.cat([self._images(domain, z0_hat) for z0_hat in per_field])
            z_t = at_level(z, level)
            self.scores.add("teacher_forced", level, T - level, images, (z_t, z_t))
            self.pictures["teacher_forced"] = images


def _groups(configurations: Iterable[Configuration]) -> list[list[Configuration]]:
    """Configurations that run as one batch: they differ in alpha and in the number of refinements alone."""
    groups: dict[tuple, list[Configuration]] = defaultdict(list)
    for c in configurations:
        role = "" if c.variant in inference.WITHOUT_G else c.degrader
        groups[c.variant, role, c.reference, c.refine_level].append(c)
    return list(groups.values())


def _fitted_alpha(domain: LoopDomain, x_train: Tensor, num_fields: int = 8) -> Tensor:
    """haze_alpha of Eq. 2, (T + 1,), fitted on training fields in this domain."""
    z = domain.encode(x_train[:num_fields])
    flat = torch.cat([group.flatten(2) for group in z], 2)
    return schedules.fitted(flat)
