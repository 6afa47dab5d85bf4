"""Our side: UNet and HDN as their stages train them, on the batches that both sides share."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from benchmarks.side_by_side.serving import serve
from dehazing import losses
from dehazing.models.hvae import HVAE
from dehazing.models.unet import UNet
from dehazing.stages import hdn, posterior_mean, predictions, unet
from dehazing.stages.descent import Descent
from dehazing.stages.elbo import elbo, ramped
from dehazing.strict import from_mapping

SAMPLING_SEED = 0


class OurUNet:
    """The network of the stage `unet` and its descent."""

    def __init__(self, setting: dict[str, Any], num_steps: int, T: int):
        self.config = from_mapping(unet.Config, setting, "the setting of unet")
        network = UNet(T, self.config.base, self.config.depth)
        self.descent = Descent(
            network,
            self.config.lr,
            num_steps,
            0,
            self.config.weight_decay,
            self.config.ema_decay,
            compute=self.config.compute.preferring(channels_last=True),
        )

    def num_parameters(self) -> int:
        return sum(weights.numel() for weights in self.descent.module.parameters())

    def step(self, x_t: Tensor, t: Tensor, x_0: Tensor) -> None:
        self.descent.step(losses.restoration_pixel(x_0, self.descent.module(x_t, t)))

    def restore(self, x_t: Tensor, t: int) -> Tensor:
        return predictions.restore(self.descent.averaged, x_t, t)


class OurHDN:
    """The network of the stage `hdn` and its descent; the prediction is the mean of posterior samples."""

    def __init__(self, setting: dict[str, Any], num_steps: int, T: int):
        self.config = config = from_mapping(hdn.Config, setting, "the setting of hdn")
        network = HVAE(config.latent_channels, config.width, config.log_var_range)
        self.descent = Descent(
            network,
            config.lr,
            num_steps,
            0,
            config.weight_decay,
            config.ema_decay,
            config.clip_norm,
            skip_norm=config.skip_norm,
            compute=config.compute,
        )

    def num_parameters(self) -> int:
        return sum(weights.numel() for weights in self.descent.module.parameters())

    def step(self, x_t: Tensor, t: Tensor, x_0: Tensor) -> None:
        config = self.config
        beta = ramped(config.beta, self.descent.num_done, self.descent.num_steps, config.kl_ramp)
        self.descent.step(elbo(self.descent.module, x_t, x_0, beta, config.free_nats)[0])

    def restore(self, x_t: Tensor, t: int) -> Tensor:
        return posterior_mean.restore(self.descent.averaged, x_t, self.config.num_samples, SAMPLING_SEED)


if __name__ == "__main__":
    serve({"unet": OurUNet, "hdn": OurHDN})
