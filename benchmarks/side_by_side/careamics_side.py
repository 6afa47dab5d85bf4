"""CAREamics' side: its UNet as its CARE algorithm builds it, its ladder VAE with its own loss, hazy in and clean out.

Runs in an environment that has CAREamics and nothing of ours. The optimiser is that of its configurations, Adam. The
rate falls as ours does, a short warm-up, then a cosine: the schedule that it ships waits for ten epochs without
progress, which so short a training does not have.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from careamics.config.algorithms import CAREAlgorithm, HDNAlgorithm
from careamics.config.architectures import LVAEConfig
from careamics.config.factories import create_advanced_care_config
from careamics.config.losses import LVAELossConfig
from careamics.config.noise_model.likelihood_config import GaussianLikelihoodConfig
from careamics.losses.lvae.lvae_losses import hdn_loss
from careamics.models.lvae.likelihoods import likelihood_factory
from careamics.models.model_factory import model_factory
from torch import Tensor, nn

from benchmarks.side_by_side.serving import serve

PATCH_PX = 64
DEPTH = 3  # of the UNet, as ours
WIDTHS = range(8, 129, 2)  # what its configurations allow
CARE: dict[str, Any] = {
    "experiment_name": "side by side",
    "data_type": "array",
    "axes": "YX",
    "patch_size": [PATCH_PX, PATCH_PX],
    "batch_size": 8,
}


def care(width: int, setting: dict[str, Any]) -> CAREAlgorithm:
    """The algorithm CARE with a UNet of so many channels at full resolution."""
    model = {"depth": DEPTH, "num_channels_init": width, "residual": setting["residual"]}
    return create_advanced_care_config(**CARE, model_params=model).algorithm_config


def ladder(width: int, setting: dict[str, Any]) -> HDNAlgorithm:
    """The algorithm HDN with a ladder of so many channels, and a Gaussian likelihood with a variance per pixel."""
    model = LVAEConfig(
        architecture="LVAE",
        input_shape=(PATCH_PX, PATCH_PX),
        z_dims=setting["latent_channels"],
        encoder_n_filters=width,
        decoder_n_filters=width,
        encoder_dropout=0.0,
        decoder_dropout=0.0,
        nonlinearity="ReLU",
        predict_logvar="pixelwise",
    )
    return HDNAlgorithm(
        loss=LVAELossConfig(loss_type="hdn", kl_weight=setting["kl_weight"]),
        model=model,
        gaussian_likelihood=GaussianLikelihoodConfig(predict_logvar="pixelwise", logvar_lowerbound=-5.0),
    )


def nearest_width(config: Callable[[int], Any], wanted: int) -> int:
    """The width whose network has most nearly so many parameters."""
    with torch.device("meta"):
        return min(WIDTHS, key=lambda width: abs(size(model_factory(config(width).model)) - wanted))


def size(network: nn.Module) -> int:
    return sum(weights.numel() for weights in network.parameters())


class Training:
    """A network of CAREamics, the optimiser of its configuration and a rate that rises and falls."""

    largest_gradient = 0.0  # each entry of it is cut off there; 0: none is

    def __init__(self, config: Callable[[int], Any], setting: dict[str, Any], num_steps: int):
        self.config = config(nearest_width(config, setting["num_parameters"]))
        self.network = model_factory(self.config.model)
        self.num_steps, self.num_done, self.lr = num_steps, 0, setting["lr"]
        optimizer = self.config.optimizer
        made = getattr(torch.optim, optimizer.name)
        self.optimizer = made(self.network.parameters(), **{**optimizer.parameters, "lr": self.lr})

    def num_parameters(self) -> int:
        return size(self.network)

    def descend(self, loss: Tensor) -> None:
        """One step against the gradient."""
        rise = min(1.0, (self.num_done + 1) / max(1, self.num_steps // 20))
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * rise * 0.5 * (1 + math.cos(math.pi * self.num_done / self.num_steps))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.largest_gradient:
            nn.utils.clip_grad_value_(self.network.parameters(), self.largest_gradient)
        self.optimizer.step()
        self.num_done += 1


class CareUNet(Training):
    """The UNet of CARE; loss: mae (its default) | mse. residual: whether the input is added to the output."""

    def __init__(self, setting: dict[str, Any], num_steps: int, T: int):
        super().__init__(lambda width: care(width, setting), setting, num_steps)
        self.loss = {"mae": nn.L1Loss(), "mse": nn.MSELoss()}[setting["loss"]]

    def step(self, x_t: Tensor, t: Tensor, x_0: Tensor) -> None:
        self.descend(self.loss(self.network(x_t), x_0))

    @torch.no_grad()
    def restore(self, x_t: Tensor, t: int) -> Tensor:
        self.network.eval()
        restored = torch.cat([self.network(x[None, None])[:, 0] for x in x_t])
        self.network.train()
        return restored


class Ladder(Training):
    """The ladder VAE of HDN, told to explain the clean image; the prediction is the mean of posterior samples."""

    largest_gradient = 0.5  # as in its own training

    def __init__(self, setting: dict[str, Any], num_steps: int, T: int):
        super().__init__(lambda width: ladder(width, setting), setting, num_steps)
        self.likelihood = likelihood_factory(self.config.gaussian_likelihood)
        self.num_samples = setting["num_samples"]

    def step(self, x_t: Tensor, t: Tensor, x_0: Tensor) -> None:
        try:
            output = self.network(x_t)
        except ValueError as error:  # of its distributions, whose parameters must be numbers
            raise FloatingPointError(f"no numbers any more after {self.num_done} steps") from error
        loss = hdn_loss(output, x_0, self.config.loss, self.likelihood, None)
        if loss is not None:  # as in its own training, a step that is not a number is left out
            self.descend(loss["loss"])

    @torch.no_grad()
    def restore(self, x_t: Tensor, t: int) -> Tensor:
        self.network.eval()
        self.network.reset_for_inference(tuple(x_t.shape[-2:]))
        restored = [self._mean(x.expand(self.num_samples, 1, -1, -1)) for x in x_t]
        self.network.reset_for_inference((PATCH_PX, PATCH_PX))
        self.network.mode_pred = False
        self.network.train()
        return torch.stack(restored)

    def _mean(self, x: Tensor) -> Tensor:
        return self.likelihood.get_mean_lv(self.network(x)[0])[0].mean((0, 1))


if __name__ == "__main__":
    serve({"unet": CareUNet, "hdn": Ladder})
