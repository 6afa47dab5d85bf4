"""Stage `hvae`: the autoencoder of all levels, x_t in and x_t out (Eq. 6-10), whose latents the loop runs in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dehazing import metrics
from dehazing.data.patches import cut, draw_places
from dehazing.pipeline.stage import Context
from dehazing.stages import weights
from dehazing.stages.elbo import elbo, ramped
from dehazing.stages.ladder import Ladder, LadderSettings
from dehazing.stages.predictions import reconstruct

NUM_FOR_STATISTICS = 64  # training frames, of all levels, that the spread of the latents is measured on


@dataclass(frozen=True)
class Config(LadderSettings):
    """Hyperparameters of the stage `hvae`; beta small enough that the latents can hold the image."""

    least_groups: ClassVar[int] = 3


def needs(config: Config) -> tuple[str, ...]:
    """Roles of the upstream stages: none."""
    return ()


class Stage(Ladder):
    """Trains the HVAE, then measures the spread of its training latents, by which they are standardised."""

    def __init__(self, config: Config, context: Context):
        super().__init__(config, context, "frame")
        self.config = config

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

    def finish(self) -> dict[str, bytes]:
        self.images.renew(self.num_epochs - 1)  # whose fields are those of the series where no epoch was left to do
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
