"""Stage `restorer`: R(z_t, t) over all latent groups (Eq. 11-12), or over the image as the latent of one group."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dehazing import losses
from dehazing.data.latents import Latent, at_level, crop_latents
from dehazing.levels import require_level
from dehazing.models.restorer import LatentUNet
from dehazing.pipeline.stage import Context
from dehazing.stages import weights
from dehazing.stages.bounds import require
from dehazing.stages.compute import Compute
from dehazing.stages.descent import Descent
from dehazing.stages.images import CLEAN_TARGETS, Images, draw_levels, reference
from dehazing.stages.space import DOMAINS, Space, require_patches


@dataclass(frozen=True)
class Config:
    """Hyperparameters of the stage `restorer`."""

    # scientific
    width: int = 32
    share_at_T: float = 0.5  # of the draws, beside those that are uniform over the levels 1 … T
    lambda_decoder: float = 0.0  # weight of ‖x_0 - Dec(R(z_t, t))‖² through the frozen decoder; 0 is the source's form
    domain: str = "latents"  # latents | pixels (the control)
    # nuisance
    lr: float = 2e-3
    weight_decay: float = 1e-4
    ema_decay: float = 0.99
    latent_noise: float = 0.0  # standard deviation of noise on z_t in training, in standardised units
    # fixed
    clean_target: str = "frame"
    patch_px: int = 64  # side of the image region whose latents make a training crop
    batch_size: int = 16
    num_epochs: int = 10
    steps_per_epoch: int = 20
    compute: Compute = field(default_factory=Compute)

    def __post_init__(self) -> None:
        require(
            self,
            positive=("width", "lr", "patch_px", "batch_size", "num_epochs", "steps_per_epoch"),
            not_negative=("lambda_decoder", "latent_noise", "weight_decay"),
            shares=("share_at_T", "ema_decay"),
            choices={"clean_target": CLEAN_TARGETS, "domain": DOMAINS},
        )
        require_patches(self.domain, self.patch_px)


def needs(config: Config) -> tuple[str, ...]:
    """Roles of the upstream stages: the autoencoder whose latents it restores, or none."""
    return ("hvae",) if config.domain == "latents" else ()


class Stage:
    """Trains R on cached latents of the training split."""

    def __init__(self, config: Config, context: Context):
        self.config, self.device = config, context.device
        self.space = Space(config.domain, context.upstreams, context.device)
        self.images = Images(context.series, config.clean_target, context.device)
        T = self.images.T
        # level T + 1 is the target: E of the acquired clean frame, or of the truth
        self.latents = self.space.encode(self.images.train_with_target)
        self.validation = self.space.encode(self.images.validation[:, T:])
        self.validation_0 = self.space.encode(reference(context.series, "validation")[:, None].to(self.device))
        channels = list(self.space.channels)
        self.architecture: dict[str, Any] = {"channels": channels, "width": config.width, "T": T}
        self.num_epochs = config.num_epochs
        network = LatentUNet(**self.architecture).to(context.device)
        for t in range(1, T + 1):
            network.fit_linear(at_level(self.latents, t), target=at_level(self.latents, T + 1), t=t)
        num_steps = config.num_epochs * config.steps_per_epoch
        self.descent = Descent(
            network,
            config.lr,
            num_steps,
            context.seed,
            config.weight_decay,
            config.ema_decay,
            compute=config.compute.preferring(channels_last=True),
        )
        self.final: dict[str, float] = {}

    def train_epoch(self) -> dict[str, float]:
        for _ in range(self.config.steps_per_epoch):
            self.train_step()
        return {**self.descent.read(), **self._validate()}

    def train_step(self) -> None:
        """One step of an epoch, on what it draws itself; nothing in it waits for the device."""
        z_t, t, z_0 = self._draw()
        with self.descent.autocast():
            z0_hat = self.descent.module(z_t, t=t)
            loss = losses.restoration_latent(z_0, z0_hat)  # Eq. 12
            if self.config.lambda_decoder:
                x_0, x0_hat = self.space.Dec(z_0), self.space.Dec(z0_hat)
                loss = loss + self.config.lambda_decoder * losses.restoration_pixel(x_0, x0_hat)
        self.descent.step(loss)

    @property
    def epoch(self) -> int:
        return self.descent.num_done // self.config.steps_per_epoch

    def state_dict(self) -> dict[str, Any]:
        return self.descent.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.descent.load_state_dict(state)

    def finish(self) -> dict[str, bytes]:
        self.final = self._validate()
        return weights.pack(self.descent.averaged, self.architecture)

    def _draw(self) -> tuple[Latent, Tensor, Latent]:
        num, T, generator = self.config.batch_size, self.images.T, self.descent.generator
        size = max(1, self.config.patch_px // self.space.stride)
        (crops,) = crop_latents([self.latents], num, size, generator)
        t = draw_levels(T, num, self.config.share_at_T, generator)
        z_t = at_level(crops, t)
        if self.config.latent_noise:
            z_t = tuple(z + self.config.latent_noise * torch.randn_like(z) for z in z_t)
        return z_t, t, at_level(crops, T + 1)

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        height, width = self.images.validation.shape[-2:]
        images, errors = [], []
        for i in range(len(self.images.validation)):  # field by field, so that memory stays bounded
            z_T, z_0 = (tuple(group[i : i + 1, 0] for group in z) for z in (self.validation, self.validation_0))
            z0_hat = restore(self.descent.averaged, z_T, self.images.T)
            errors.append(float(losses.restoration_latent(z_0, z0_hat)))
            images.append(self.space.Dec(z0_hat)[:, 0, :height, :width])
        return {"val/latent_error": sum(errors) / len(errors), **self.images.score(torch.cat(images))}


@torch.no_grad()
def restore(network: Any, z_t: Latent, t: int) -> Latent:
    """z0_hat = R(z_t, t) (Eq. 11), all samples at one level."""
    require_level(t, network.T)
    level = torch.full((len(z_t[0]),), t, device=z_t[0].device)
    return network(z_t, t=level)
