"""Stage `unet`: the one-shot baseline R^pixel(x_t, t), trained on all levels (Eq. 3-5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dehazing import losses
from dehazing.levels import require_level
from dehazing.models.unet import UNet
from dehazing.pipeline.stage import Context
from dehazing.stages import weights
from dehazing.stages.bounds import require
from dehazing.stages.descent import Descent
from dehazing.stages.images import CLEAN_TARGETS, Images, draw_pairs


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

    def __post_init__(self) -> None:
        require(
            self,
            positive=("base", "depth", "lr", "patch_px", "batch_size", "num_epochs", "steps_per_epoch"),
            not_negative=("weight_decay",),
            shares=("share_at_T", "ema_decay"),
            choices={"clean_target": CLEAN_TARGETS},
        )


def needs(config: Config) -> tuple[str, ...]:
    """Roles of the upstream stages: none."""
    return ()


class Stage:
    """Trains the UNet; one epoch is `steps_per_epoch` steps, then a validation at T."""

    def __init__(self, config: Config, context: Context):
        self.config, self.device = config, context.device
        self.images = Images(context.series, config.clean_target, context.device)
        self.architecture: dict[str, Any] = {"T": self.images.T, "base": config.base, "depth": config.depth}
        self.num_epochs = config.num_epochs
        network = UNet(**self.architecture).to(context.device)
        num_steps = config.num_epochs * config.steps_per_epoch
        self.descent = Descent(network, config.lr, num_steps, context.seed, config.weight_decay, config.ema_decay)
        self.final: dict[str, float] = {}

    def train_epoch(self) -> dict[str, float]:
        total = 0.0
        for _ in range(self.config.steps_per_epoch):
            x_t, t, x_0 = draw_pairs(
                self.images,
                self.config.batch_size,
                self.config.patch_px,
                self.config.share_at_T,
                self.descent.generator,
            )
            loss = losses.restoration_pixel(x_0, self.descent.module(x_t, t))  # Eq. 3
            self.descent.step(loss)
            total += float(loss.detach())
        network = self.descent.averaged
        x_T = self.images.validation[:, self.images.T]
        x0_hat = restore(network, x_T, self.images.T)
        return {"train/loss": total / self.config.steps_per_epoch, **self.images.score(x0_hat)}

    @property
    def epoch(self) -> int:
        return self.descent.num_done // self.config.steps_per_epoch

    def state_dict(self) -> dict[str, Any]:
        return self.descent.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.descent.load_state_dict(state)

    def finish(self) -> dict[str, bytes]:
        network = self.descent.averaged
        levels = range(1, self.images.T + 1)
        scores = [self.images.score(restore(network, self.images.validation[:, t], t)) for t in levels]
        self.final = {**scores[-1], "val/psnr_mean_over_levels": sum(s["val/psnr"] for s in scores) / len(scores)}
        return weights.pack(network, self.architecture)


@torch.no_grad()
def restore(network: UNet | torch.nn.Module, x_t: Tensor, t: int) -> Tensor:
    """x0_hat = R(x_t, t) (Eq. 5) of images (N, Y, X) of one level, field by field to bound memory; (N, Y, X)."""
    require_level(t, network.T)  # type: ignore[arg-type]
    level = torch.full((1,), t, device=x_t.device)
    return torch.cat([network(x[None, None], level)[:, 0] for x in x_t])
