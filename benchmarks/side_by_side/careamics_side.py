"""CAREamics' side: its UNet as its CARE algorithm builds it, its ladder VAE with its own loss, hazy in and clean out.

Runs in an environment that has CAREamics and nothing of ours. The optimisers are those of its configurations, Adam
(CARE) and Adamax (HDN). The rate falls as ours does, a short warm-up, then a cosine: what it ships waits for ten
epochs without progress, which so short a training does not have.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from careamics.config.factories import create_advanced_care_config, create_advanced_hdn_config
from careamics.lightning.modules import CAREModule, HDNModule
from torch import Tensor

from benchmarks.side_by_side.serving import serve

PATCH_PX = 64
DEPTH = 3  # of the UNet, as ours
DATA: dict[str, Any] = {
    "experiment_name": "side by side",
    "data_type": "array",
    "axes": "YX",
    "patch_size": [PATCH_PX, PATCH_PX],
    "batch_size": 8,
    "num_epochs": 1,
}


class Training:
    """A module of CAREamics, its own optimiser and a rate that rises and falls."""

    def __init__(self, make: Callable[[int], Any], setting: dict[str, Any], num_steps: int):
        self.module = make(nearest_width(make, setting["num_parameters"]))
        self.model = self.module.model.train()
        self.num_steps, self.num_done, self.lr = num_steps, 0, setting["lr"]
        optimizer = self.module.config.optimizer
        made = getattr(torch.optim, optimizer.name)
        self.optimizer = made(self.model.parameters(), **{**optimizer.parameters, "lr": self.lr})

    def num_parameters(self) -> int:
        return num_parameters(self.model)

    def descend(self, loss: Tensor) -> None:
        """One step against the gradient."""
        warm_up = max(1, self.num_steps // 20)
        share = min(1.0, (self.num_done + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * self.num_done / self.num_steps))
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * share
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.num_done += 1


class CareUNet(Training):
    """The UNet of CARE; loss: mae (its default) | mse."""

    def __init__(self, setting: dict[str, Any], num_steps: int, T: int):
        def make(width: int) -> Any:
            config = create_advanced_care_config(
                **DATA, model_params={"depth": DEPTH, "num_channels_init": width}
            ).algorithm_config
            config.loss = setting["loss"]
            return CAREModule(config)

        super().__init__(make, setting, num_steps)

    def step(self, x_t: Tensor, t: Tensor, x_0: Tensor) -> None:
        self.descend(self.module.loss_func(self.model(x_t), x_0))

    @torch.no_grad()
    def restore(self, x_t: Tensor, t: int) -> Tensor:
        self.model.eval()
        restored = torch.cat([self.model(x[None, None])[:, 0] for x in x_t])
        self.model.train()
        return restored
