"""Stage `hdn`: the generative one-shot baseline, a hierarchical VAE that sees x_t and explains x_0, on all levels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dehazing.models import hdn
from dehazing.models.hvae import HVAE, LOG_VAR_RANGE
from dehazing.pipeline.stage import Context
from dehazing.stages import weights
from dehazing.stages.bounds import require, require_rising
from dehazing.stages.compute import Compute
from dehazing.stages.descent import Descent
from dehazing.stages.elbo import elbo, ramped
from dehazing.stages.images import CLEAN_TARGETS, Images, draw_pairs


@dataclass(frozen=True)
class Config:
    """Hyperparameters of the stage `hdn`."""

    # scientific
    latent_channels: tuple[int, ...] = (4, 4, 8, 8)
    width: int = 16
    beta: float = 0.02  # weight of the KL terms
    num_samples: int = 8  # of the posterior, averaged into the prediction
    share_at_T: float = 0.25
    # nuisance
    lr: float = 2e-3
    weight_decay: float = 1e-4
    ema_decay: float = 0.99
    free_nats: float = 0.0  # per group and pixel
    kl_ramp: float = 0.0  # share of the steps over which beta rises from 0
    log_var_range: tuple[float, float] = LOG_VAR_RANGE  # that log-variances are clamped to
    clip_norm: float = 1.0  # of the gradient
    skip_norm: float = 0.0  # of a gradient whose step is left out; 0 leaves out none
    # fixed
    clean_target: str = "frame"
    patch_px: int = 64
    batch_size: int = 8
    num_epochs: int = 18
    steps_per_epoch: int = 20
    fresh_every: int = 0  # epochs after which the training fields are simulated anew, on the device; 0: never
    compute: Compute = field(default_factory=Compute)

    def __post_init__(self) -> None:
        if not self.latent_channels or min(self.latent_channels) < 1:
            raise ValueError(
                f"`latent_channels` must name groups of at least one channel, but got {self.latent_channels}."
            )
        require(
            self,
            positive=(
                "width",
                "num_samples",
                "lr",
                "clip_norm",
                "patch_px",
                "batch_size",
                "num_epochs",
                "steps_per_epoch",
            ),
            not_negative=("beta", "weight_decay", "free_nats", "skip_norm", "fresh_every"),
            shares=("share_at_T", "ema_decay", "kl_ramp"),
            choices={"clean_target": CLEAN_TARGETS},
        )
        require_rising("log_var_range", self.log_var_range)


def needs(config: Config) -> tuple[str, ...]:
    """Roles of the upstream stages: none."""
    return ()


class Stage:
    """Trains HDN; its prediction is the mean of posterior samples."""

    def __init__(self, config: Config, context: Context):
        self.config, self.device, self.seed = config, context.device, context.seed
        self.images = Images(context.series, config.clean_target, context.device, config.fresh_every, context.seed)
        self.architecture: dict[str, Any] = {
            "latent_channels": list(config.latent_channels),
            "width": config.width,
            "log_var_range": list(config.log_var_range),
        }
        self.num_epochs = config.num_epochs
        network = HVAE(**self.architecture).to(context.device)
        self.descent = Descent(
            network,
            config.lr,
            config.num_epochs * config.steps_per_epoch,
            context.seed,
            config.weight_decay,
            config.ema_decay,
            config.clip_norm,
            skip_norm=config.skip_norm,
            compute=config.compute,
        )
        self.final: dict[str, float] = {}

    def train_epoch(self) -> dict[str, float]:
        self.images.renew(self.epoch)
        for _ in range(self.config.steps_per_epoch):
            self.train_step()
        return {**self.descent.read(), **self._validate(self.images.T, num_samples=2)}

    def train_step(self) -> None:
        """One step of an epoch, on what it draws itself; nothing in it waits for the device."""
        x_t, _, x_0 = draw_pairs(
            self.images,
            self.config.batch_size,
            self.config.patch_px,
            self.config.share_at_T,
            self.descent.generator,
        )
        beta = ramped(self.config.beta, self.descent.num_done, self.descent.num_steps, self.config.kl_ramp)
        with self.descent.autocast():
            loss, rec = elbo(self.descent.module, x_t, x_0, beta, self.config.free_nats)
        self.descent.step(loss, {"loss": loss, "loss_rec": rec})

    @property
    def epoch(self) -> int:
        return self.descent.num_done // self.config.steps_per_epoch

    def state_dict(self) -> dict[str, Any]:
        return self.descent.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.descent.load_state_dict(state)

    def finish(self) -> dict[str, bytes]:
        scores = [self._validate(t, self.config.num_samples) for t in range(1, self.images.T + 1)]
        self.final = {**scores[-1], "val/psnr_mean_over_levels": sum(s["val/psnr"] for s in scores) / len(scores)}
        return weights.pack(self.descent.averaged, self.architecture)

    def _validate(self, t: int, num_samples: int) -> dict[str, float]:
        return self.images.score(restore(self.descent.averaged, self.images.validation[:, t], num_samples, self.seed))


@torch.no_grad()
def restore(network: Any, x_t: Tensor, num_samples: int, seed: int) -> Tensor:
    """The mean of posterior samples for images (N, Y, X), field by field; (N, Y, X)."""
    return torch.stack([drawn.mean(0) for drawn in samples(network, x_t, num_samples, seed)])


@torch.no_grad()
def samples(network: Any, x_t: Tensor, num_samples: int, seed: int) -> Iterator[Tensor]:
    """The posterior samples of each of the images (N, Y, X) that `restore` averages, (num_samples, Y, X) a field."""
    generator = torch.Generator().manual_seed(seed)
    for x in x_t:
        yield hdn.sample(network, x[None, None], num_samples, generator)[:, 0, 0]
