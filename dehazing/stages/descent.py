"""Gradient descent as every stage does it: clip or skip, step, decay the rate, average the weights."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn


class Descent:
    """AdamW on one module, with a cosine decay after a short warm-up and an exponential moving average of the weights.

    `averaged` is what is validated and published; `generator` is what the steps draw their data with, and part of the
    state. clip_norm: a longer gradient is shortened to this. skip_norm: a step whose gradient is longer than this, or
    not finite, changes no weight and is counted in `num_skipped`; 0 skips none.
    """

    def __init__(
        self,
        module: nn.Module,
        lr: float,
        num_steps: int,
        seed: int,
        weight_decay: float = 1e-4,
        ema_decay: float = 0.99,
        clip_norm: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        skip_norm: float = 0.0,
    ):
        self.module: Any = module
        self.averaged: Any = copy.deepcopy(module).requires_grad_(False).eval()
        self.optimizer = torch.optim.AdamW(module.parameters(), lr=lr, weight_decay=weight_decay, betas=betas)
        self.lr, self.num_steps, self.ema_decay = lr, num_steps, ema_decay
        self.clip_norm, self.skip_norm = clip_norm, skip_norm
        self.num_done = self.num_skipped = 0
        self.generator = torch.Generator().manual_seed(seed)

    def step(self, loss: Tensor) -> None:
        """One step against the gradient of `loss`; FloatingPointError where it is not finite."""
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"The loss must stay finite, but became {float(loss.detach())} at step {self.num_done}."
            )
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * self._share(self.num_done)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.clip_norm)
        self.num_done += 1
        if self.skip_norm and not norm <= self.skip_norm:  # NaN, too
            self.num_skipped += 1
            return
        self.optimizer.step()
        decay = min(self.ema_decay, (1 + self.num_done) / (10 + self.num_done))
        with torch.no_grad():
            for mean, weight in zip(self.averaged.parameters(), self.module.parameters(), strict=True):
                mean.lerp_(weight, 1 - decay)

    def skipped(self) -> dict[str, float]:
        """How many steps were left out so far, as a metric, where any can be."""
        return {"train/skipped": float(self.num_skipped)} if self.skip_norm else {}

    def state_dict(self) -> dict[str, Any]:
        return {
            "module": self.module.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "num_done": self.num_done,
            "num_skipped": self.num_skipped,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.num_done, self.num_skipped = state["num_done"], state["num_skipped"]
        self.generator.set_state(state["generator"])

    def _share(self, step: int) -> float:
        warm_up = max(1, self.num_steps // 20)
        return min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.num_steps)))
