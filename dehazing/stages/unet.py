"""Stage `unet`: the one-shot baseline R^pixel(x_t, t), trained on all levels (Eq. 3-5)."""

from __future__ import annotations

from dataclasses import dataclass, field

from dehazing.models.unet import UNet
from dehazing.pipeline.stage import Context
from dehazing.stages.bounds import require
from dehazing.stages.compute import Compute
from dehazing.stages.images import CLEAN_TARGETS
from dehazing.stages.one_shot import OneShot


@dataclass(frozen=True)
class Config:
    """Hyperparameters of the stage `unet`."""

    # scientific
    base: int = 16
    depth: int = 3
    share_at_T: float = 0.25  # of the draws, beside those that are uniform over the levels 1 … T
    # nuisance
    lr: float = 2e-3
    weight_decay: float = 1e-4
    ema_decay: float = 0.99
    # fixed
    clean_target: str = "frame"  # frame (as acquired) | truth (the simulator's, noise-free)
    patch_px: int = 64
    batch_size: int = 8
    num_epochs: int = 15
    steps_per_epoch: int = 20
    fresh_every: int = 0  # epochs after which the training fields are simulated anew, on the device; 0: never
    compute: Compute = field(default_factory=Compute)

    def __post_init__(self) -> None:
        require(
            self,
            positive=("base", "depth", "lr", "patch_px", "batch_size", "num_epochs", "steps_per_epoch"),
            not_negative=("weight_decay", "fresh_every"),
            shares=("share_at_T", "ema_decay"),
            choices={"clean_target": CLEAN_TARGETS},
        )


def needs(config: Config) -> tuple[str, ...]:
    """Roles of the upstream stages: none."""
    return ()


class Stage(OneShot):
    """Trains the UNet."""

    def __init__(self, config: Config, context: Context):
        super().__init__(config, context, UNet, {"base": config.base, "depth": config.depth})
