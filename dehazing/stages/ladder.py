"""What HVAE and HDN share as stages: the settings of a ladder of latent groups, and how one is set up for training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from dehazing.models.hvae import HVAE, LOG_VAR_RANGE
from dehazing.pipeline.stage import Context
from dehazing.stages.bounds import require, require_rising
from dehazing.stages.compute import Compute
from dehazing.stages.descent import Descent
from dehazing.stages.fresh_images import FreshImages


@dataclass(frozen=True)
class LadderSettings:
    """Hyperparameters of a ladder and of its training by Eq. 9."""

    # scientific
    latent_channels: tuple[int, ...] = (4, 4, 8, 8)  # of the groups, finest first
    width: int = 16
    beta: float = 0.01  # weight of the KL terms
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
    patch_px: int = 64
    batch_size: int = 8
    num_epochs: int = 12
    steps_per_epoch: int = 20
    fresh_every: int = 0  # epochs after which the training fields are simulated anew, on the device; 0: never
    compute: Compute = field(default_factory=Compute)
    least_groups: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if len(self.latent_channels) < self.least_groups or min(self.latent_channels) < 1:
            raise ValueError(
                f"`latent_channels` must name at least {self.least_groups} groups of at least one channel each, "
                f"but got {self.latent_channels}."
            )
        require(
            self,
            positive=("width", "lr", "clip_norm", "patch_px", "batch_size", "num_epochs", "steps_per_epoch"),
            not_negative=("beta", "weight_decay", "free_nats", "skip_norm", "fresh_every"),
            shares=("ema_decay", "kl_ramp"),
        )
        require_rising("log_var_range", self.log_var_range)


class Ladder:
    """A ladder in training, but for what its epochs do and what it is worth at their end.

    clean_target: of `Images`.
    """

    def __init__(self, config: LadderSettings, context: Context, clean_target: str):
        self.images = FreshImages(context.series, clean_target, context.device, config.fresh_every, context.seed)
        self.architecture: dict[str, Any] = {
            "latent_channels": list(config.latent_channels),
            "width": config.width,
            "log_var_range": list(config.log_var_range),
        }
        self.num_epochs, self.steps_per_epoch = config.num_epochs, config.steps_per_epoch
        self.descent = Descent(
            HVAE(**self.architecture).to(context.device),
            config.lr,
            config.num_epochs * config.steps_per_epoch,
            context.seed,
            config.weight_decay,
            config.ema_decay,
            config.clip_norm,
            skip_norm=config.skip_norm,
            compute=config.compute.preferring(channels_last=False),
        )
        self.final: dict[str, float] = {}

    @property
    def epoch(self) -> int:
        return self.descent.num_done // self.steps_per_epoch

    def state_dict(self) -> dict[str, Any]:
        return self.descent.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.descent.load_state_dict(state)
