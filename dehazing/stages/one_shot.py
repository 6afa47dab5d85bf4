"""How a one-shot baseline R^pixel(x_t, t) is trained on all levels (Eq. 3-5), whatever its network is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from dehazing import losses
from dehazing.pipeline.stage import Context
from dehazing.stages import weights
from dehazing.stages.descent import Descent
from dehazing.stages.fresh_images import FreshImages
from dehazing.stages.images import draw_pairs
from dehazing.stages.predictions import restore


class OneShot:
    """Trains a network on x_t, t → x_0; one epoch is `steps_per_epoch` steps, then a validation at T.

    config: the stage's, with the settings that all have: clean_target, share_at_T, compute, of descent and batches.
    network: class that takes T and what `architecture` names, and is called as R(x_t, t).
    """

    def __init__(self, config: Any, context: Context, network: type[nn.Module], architecture: Mapping[str, Any]):
        self.config, self.device = config, context.device
        self.images = FreshImages(context.series, config.clean_target, context.device, config.fresh_every, context.seed)
        self.architecture: dict[str, Any] = {"T": self.images.T, **architecture}
        self.num_epochs = config.num_epochs
        module = network(**self.architecture).to(context.device)
        num_steps = config.num_epochs * config.steps_per_epoch
        self.descent = Descent(
            module,
            config.lr,
            num_steps,
            context.seed,
            config.weight_decay,
            config.ema_decay,
            compute=config.compute.preferring(channels_last=True),
        )
        self.final: dict[str, float] = {}

    def train_epoch(self) -> dict[str, float]:
        self.images.renew(self.epoch)
        for _ in range(self.config.steps_per_epoch):
            self.train_step()
        means = self.descent.read()
        x_T = self.images.validation[:, self.images.T]
        x0_hat = restore(self.descent.averaged, x_T, self.images.T)
        return {**means, **self.images.score(x0_hat)}

    def train_step(self) -> None:
        """One step of an epoch, on what it draws itself; nothing in it waits for the device."""
        x_t, t, x_0 = draw_pairs(
            self.images,
            self.config.batch_size,
            self.config.patch_px,
            self.config.share_at_T,
            self.descent.generator,
        )
        with self.descent.autocast():
            loss = losses.restoration_pixel(x_0, self.descent.module(x_t, t))  # Eq. 3
        self.descent.step(loss)

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
