"""Stage `hvae`: the autoencoder of all levels, x_t in and x_t out (Eq. 6-10), whose latents the loop runs in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dehazing import metrics
from dehazing.data.patches import cut, draw_places
from dehazing.models.hvae import HVAE, LOG_VAR_RANGE
from dehazing.pipeline.stage import Context
from dehazing.stages import weights
from dehazing.stages.bounds import require, require_rising
from dehazing.stages.compute import Compute
from dehazing.stages.descent import Descent
from dehazing.stages.elbo import elbo, ramped
from dehazing.stages.images import Images

NUM_FOR_STATISTICS = 64  # training frames, of all levels, that the spread of the latents is measured on


@dataclass(frozen=True)
class Config:
    """Hyperparameters of the stage `hvae`."""

    # scientific
    latent_channels: tuple[int, ...] = (4, 4, 8, 8)  # of the groups, finest first; at least three groups
    width: int = 16
    beta: float = 0.01  # weight of the KL terms, small enough that the latents can hold the image
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

    def __post_init__(self) -> None:
        if len(self.latent_channels) < 3 or min(self.latent_channels) < 1:
            raise ValueError(
                "`latent_channels` must name at least three groups of at least one channel, "
                f"but got {self.latent_channels}."
            )
        require(
            self,
            positive=("width", "lr", "clip_norm", "patch_px", "batch_size", "num_epochs", "steps_per_epoch"),
            not_negative=("beta", "weight_decay", "free_nats", "skip_norm", "fresh_every"),
            shares=("ema_decay", "kl_ramp"),
        )
        require_rising("log_var_range", self.log_var_range)


def needs(config: Config) -> tuple[str, ...]:
    """Roles of the upstream stages: none."""
    return ()


class Stage:
    """Trains the HVAE, then measures the spread of its training latents, by which they are standardised."""

    def __init__(self, config: Config, context: Context):
        self.config = config
        self.images = Images(context.series, "frame", context.device, config.fresh_every, context.seed)
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
        return {**self.descent.read(), **self._ceiling()}

    def train_step(self) -> None:
        """One step of an epoch, on what it draws itself; nothing in it waits for the device."""
        x_t = self._draw()
        beta = ramped(self.config.beta, self.descent.num_done, self.descent.num_steps, self.config.kl_ramp)
        with self.descent.autocast():
            loss, rec = elbo(self.descent.module, x_t, x_t, beta, self.config.free_nats)  # Eq. 9
        self.descent.step(loss, {"loss": loss, "loss_rec": rec})

    @property
    def epoch(self) -> int:
        return self.descent.num_done // self.config.steps_per_epoch

    def state_dict(self) -> dict[str, Any]:
        return self.descent.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.descent.load_state_dict(state)

    def finish(self) -> dict[str, bytes]:
        network = self.descent.averaged
        every = max(1, self.images.train[:, :, 0, 0].numel() // NUM_FOR_STATISTICS)
        network.standardise(self.images.train.flatten(0, 1)[::every, None])
        self.final = {**self._ceiling(), "val/smoothness": self._smoothness()}
        return weights.pack(network, self.architecture)

    def _draw(self) -> Tensor:
        num, generator = self.config.batch_size, self.descent.generator
        places = draw_places(self.images.train, num, self.config.patch_px, generator)
        t = torch.randint(0, self.images.T + 1, (num, 1), generator=generator, device=generator.device)
        return cut(self.images.train, places, self.config.patch_px, t)

    def _ceiling(self) -> dict[str, float]:
        """PSNR of Dec(E(x_0)): the best that a perfect loop could give; from the noise-free x_0 where there is one."""
        reference = self.images.validation_reference
        from_frame = self.images.score(reconstruct(self.descent.averaged, self.images.validation[:, 0]))
        from_reference = metrics.psnr(reconstruct(self.descent.averaged, reference), reference)
        return {"val/ceiling": float(from_reference.mean()), "val/ceiling_frame": from_frame["val/psnr"]}

    @torch.no_grad()
    def _smoothness(self) -> float:
        """Chord over path length of E(x_0) … E(x_T), at most 1 (a straight line), averaged over validation fields."""
        values = []
        for x in self.images.validation:
            z = torch.cat([z_i.flatten(1) for z_i in self.descent.averaged.encode(x[:, None])], 1)
            values.append(float((z[-1] - z[0]).norm() / (z[1:] - z[:-1]).norm(dim=1).sum()))
        return sum(values) / len(values)


@torch.no_grad()
def reconstruct(network: Any, x: Tensor) -> Tensor:
    """Dec(E(x)) of images (N, Y, X), field by field; (N, Y, X)."""
    height, width = x.shape[-2:]
    return torch.cat([network.decode(network.encode(one[None, None]))[:, 0, :height, :width] for one in x])
