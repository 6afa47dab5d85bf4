"""Gradient descent as every stage does it: clip or skip, step, decay the rate, average the weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dehazing.stages.compute import Compute, compiled, lay_out
from dehazing.stages.watch import Watch


class Descent:
    """AdamW on one module, with a cosine decay after a short warm-up and an exponential moving average of the weights.

    `averaged` is what is validated and published; `generator`, on the module's device, is what the steps draw their
    data with, and part of the state. clip_norm: a longer gradient is shortened to this. skip_norm: a step whose
    gradient is longer than this, or not finite, changes no weight and is counted in `num_skipped`; 0 skips none.

    A step never waits for the device; what it came to is read, and judged, once an epoch (`read`).
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
        compute: Compute | None = None,
    ):
        self.compute = compute or Compute()
        self.module: Any = lay_out(module, self.compute)
        self.averaged: Any = copy.deepcopy(module).requires_grad_(False).eval()
        compiled(module, self.compute)
        self._weights: list[Tensor] = list(module.parameters())
        self._means: list[Tensor] = list(self.averaged.parameters())
        self.device = self._weights[0].device
        # the fused one can be told on the device to leave a step out
        self.optimizer: Any = torch.optim.AdamW(
            self._weights, lr=lr, weight_decay=weight_decay, betas=betas, fused=True
        )
        self.lr, self.num_steps, self.ema_decay = lr, num_steps, ema_decay
        self.clip_norm, self.skip_norm = clip_norm, skip_norm
        self.num_done, self.seed = 0, seed
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self._num_skipped = torch.zeros((), device=self.device)
        self._watch = Watch(self.compute.runaway)

    @property
    def num_skipped(self) -> int:
        """How many steps were left out so far; to ask is to wait for the device."""
        return int(self._num_skipped)

    def autocast(self) -> torch.autocast:
        """The context of forward pass and loss, which sets their precision."""
        return self.compute.autocast(self.device)

    def step(self, loss: Tensor, terms: Mapping[str, Tensor] | None = None) -> None:
        """One step against the gradient of `loss`; `terms`, by default the loss itself, are what `read` reports."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * self._share(self.num_done)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._weights, self.clip_norm)
        _as_laid_out(self._weights)
        self.num_done += 1
        moved = 1 - min(self.ema_decay, (1 + self.num_done) / (10 + self.num_done))
        with torch.no_grad():
            if self.skip_norm:
                self._step_or_skip(norm, moved)
            else:
                self.optimizer.step()
                torch._foreach_lerp_(self._means, self._weights, moved)
        watched = dict(terms or {"loss": loss})
        if not self.skip_norm:
            watched["gradient"] = norm  # one that is not finite has spoilt the weights
        self._watch.add(watched)

    def _step_or_skip(self, norm: Tensor, moved: float) -> None:
        skipped = (~(norm <= self.skip_norm)).float()  # NaN, too
        self._num_skipped += skipped
        self.optimizer.found_inf = skipped  # as torch's own scaler of gradients says it
        self.optimizer.step()
        for mean, weight in zip(self._means, self._weights, strict=True):
            mean.lerp_(weight, moved * (1 - skipped))

    def read(self) -> dict[str, float]:
        """The means of the terms since the last reading, as metrics, and how many steps were left out where any can be.

        FloatingPointError where a term, or a gradient that was followed, was not finite, or the loss has run away.
        """
        means = {f"train/{name}": mean for name, mean in self._watch.read(self.num_done).items() if name != "gradient"}
        return {**means, **({"train/skipped": float(self.num_skipped)} if self.skip_norm else {})}

    def state_dict(self) -> dict[str, Any]:
        return {
            "module": self.module.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "num_done": self.num_done,
            "num_skipped": self.num_skipped,
            "usual_loss": self._watch.usual,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state. One of another kind of device has no use for its generator: other data are drawn."""
        self.module.load_state_dict(state["module"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        for weight, moments in self.optimizer.state.items():
            for name in ("exp_avg", "exp_avg_sq"):  # kept without their memory format
                moments[name] = torch.empty_like(weight).copy_(moments[name])
        self.num_done = state["num_done"]
        self._num_skipped.fill_(state["num_skipped"])
        self._watch.usual = state["usual_loss"]
        self._watch.forget()
        if len(state["generator"]) == len(self.generator.get_state()):
            self.generator.set_state(state["generator"])
        else:
            self.generator.manual_seed(self.seed + self.num_done)

    def _share(self, step: int) -> float:
        warm_up = max(1, self.num_steps // 20)
        return min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.num_steps)))


def _as_laid_out(weights: list[Tensor]) -> None:
    """Gives each gradient the strides of its weight, which the fused optimiser takes for granted."""
    for weight in weights:
        if weight.grad is not None and weight.grad.stride() != weight.stride():
            weight.grad = torch.empty_like(weight).copy_(weight.grad)
