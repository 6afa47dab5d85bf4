"""Stage `degrader`: G, F, D_X and D_Y of Eq. 13-16, for the target levels s = 1 … T.

For s < T, X = {R(z_{s+1}, s+1)} and Y = {z_s} (Eq. 13, with t = s + 1); s = T, which only the residual update calls,
learns X = {R(z_T, T)} to Y = {z_T}. The source's own form is the default: blind, a pair of networks per step,
adversarial, cycle and cosine terms, no L1 to the pair.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from dehazing import inference, losses
from dehazing.data.latents import Latent, at_level, crop_latents
from dehazing.models.degrader import Discriminator, Operator, num_parameters, width_for
from dehazing.pipeline.stage import Context
from dehazing.stages import weights
from dehazing.stages.bounds import require
from dehazing.stages.compute import Compute
from dehazing.stages.descent import Descent
from dehazing.stages.images import Images
from dehazing.stages.loop_domain import NEEDS, LoopDomain
from dehazing.stages.pool import Pool
from dehazing.stages.space import DOMAINS, require_patches

ANCHORS = ("none", "z_T", "z_t")
COS_TARGETS = ("paired", "input", "cycle")


@dataclass(frozen=True)
class Config:
    """Hyperparameters of the stage `degrader`."""

    # scientific
    lambda_cyc: float = 10.0
    lambda_cos: float = 1.0
    lambda_pair: float = 0.0  # weight of ‖G(X) - Y‖₁ to the pair; 0 is the source's form
    cos_target: str = "paired"  # what L_cos compares G(X) with: paired z_{t-1} | input | cycle (F(G(X)) with X)
    anchor: str = "none"  # what G sees beside z0_hat: none (blind, the source's form) | z_T | z_t
    shared: bool = False  # one pair with a step embedding, instead of one pair per step
    domain: str = "latents"  # latents | pixels (the control)
    width: int = 0  # of G and F; 0: one that makes G, all steps together, about as large as the R it is trained with
    # nuisance
    lr: float = 1e-3
    beta1: float = 0.5
    ema_decay: float = 0.98
    discriminator_width: int = 16
    pool_size: int = 50
    latent_noise: float = 0.0  # standard deviation of noise on what G sees as X in training; 0 is the source's form
    # fixed
    patch_px: int = 64
    batch_size: int = 8
    num_epochs: int = 6
    steps_per_epoch: int = 24
    compute: Compute = field(default_factory=Compute)

    def __post_init__(self) -> None:
        require(
            self,
            positive=("discriminator_width", "lr", "patch_px", "batch_size", "num_epochs", "steps_per_epoch"),
            not_negative=("width", "lambda_cyc", "lambda_cos", "lambda_pair", "pool_size", "latent_noise"),
            shares=("beta1", "ema_decay"),
            choices={"anchor": ANCHORS, "cos_target": COS_TARGETS, "domain": DOMAINS},
        )
        require_patches(self.domain, self.patch_px)


def needs(config: Config) -> tuple[str, ...]:
    """Roles of the upstream stages."""
    return NEEDS[config.domain]


class Stage:
    """Trains the pairs of all steps; one training step belongs to one target level s, each in turn."""

    def __init__(self, config: Config, context: Context):
        self.config = config
        self.images = Images(context.series, "frame", context.device)
        self.domain = LoopDomain(config.domain, context.upstreams, context.device)
        self.z = self.domain.encode(self.images.train)
        self.z0_hat = self.domain.restored(self.z)
        self.z_validation = self.domain.encode(self.images.validation)
        T = self.images.T
        steps: dict[str, Any] = {"T": T, "shared": config.shared, "anchored": config.anchor != "none"}
        channels = list(self.domain.channels)
        width = config.width or width_for(num_parameters(self.domain.restorer), channels, **steps)
        self.architecture: dict[str, Any] = {"channels": channels, "width": width, **steps}
        critic = (self.domain.channels, config.discriminator_width, T, config.shared)
        G, F = Operator(**self.architecture).to(context.device), Operator(**self.architecture).to(context.device)
        for s in range(1, T + 1):
            X, Y, anchor = self._pairs(self.z, self.z0_hat, s)
            G.fit_linear(X, s, anchor, Y)
            F.fit_linear(Y, s, anchor, X)
        pair = nn.ModuleDict({"G": G, "F": F})
        critics = nn.ModuleDict({"D_X": Discriminator(*critic), "D_Y": Discriminator(*critic)})
        self.num_epochs = config.num_epochs
        descents = (
            Descent(
                module.to(context.device),
                config.lr,
                config.num_epochs * config.steps_per_epoch,
                context.seed,
                weight_decay=0.0,
                ema_decay=config.ema_decay,
                betas=(config.beta1, 0.999),
                compute=config.compute.preferring(channels_last=True),
            )
            for module in (pair, critics)
        )
        self.descent, self.critic_descent = descents
        self.pools = {side: [Pool(config.pool_size) for _ in range(T)] for side in ("X", "Y")}
        self.final: dict[str, float] = {}

    def train_epoch(self) -> dict[str, float]:
        for _ in range(self.config.steps_per_epoch):
            self.train_step()
        return {**self.descent.read(), **self.critic_descent.read(), **self._validate()}

    def train_step(self) -> None:
        """One step of an epoch, on what it draws itself; nothing in it waits for the device."""
        s = 1 + self.descent.num_done % self.images.T
        self._step(*self._draw(s), s)

    @property
    def epoch(self) -> int:
        return self.descent.num_done // self.config.steps_per_epoch

    def state_dict(self) -> dict[str, Any]:
        return {
            "descent": self.descent.state_dict(),
            "critic_descent": self.critic_descent.state_dict(),
            "pools": {side: [pool.kept for pool in pools] for side, pools in self.pools.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.descent.load_state_dict(state["descent"])
        self.critic_descent.load_state_dict(state["critic_descent"])
        for side, pools in self.pools.items():
            for pool, kept in zip(pools, state["pools"][side], strict=True):
                pool.load(kept, self.descent.device)

    def finish(self) -> dict[str, bytes]:
        self.final = self._validate()
        return weights.pack(self.descent.averaged["G"], self.architecture)

    def _draw(self, s: int) -> tuple[Latent, Latent, Latent | None]:
        size = max(1, self.config.patch_px // self.domain.stride)
        z, z0_hat = crop_latents([self.z, self.z0_hat], self.config.batch_size, size, self.descent.generator)
        return self._pairs(z, z0_hat, s)

    def _pairs(self, z: Latent, z0_hat: Latent, s: int) -> tuple[Latent, Latent, Latent | None]:
        """X, Y and the anchor of one target level s (Eq. 13); latents of all levels, (N, T + 1, C_i, h_i, w_i) each."""
        t = min(s + 1, self.images.T)
        anchor = {"none": None, "z_T": self.images.T, "z_t": t}[self.config.anchor]
        return at_level(z0_hat, t), at_level(z, s), None if anchor is None else at_level(z, anchor)

    def _step(self, X: Latent, Y: Latent, anchor: Latent | None, s: int) -> None:
        config = self.config
        G, F = (_at(self.descent.module[name], s, anchor) for name in ("G", "F"))
        D_X, D_Y = (self.critic_descent.module[name] for name in ("D_X", "D_Y"))
        D_X.requires_grad_(False)
        D_Y.requires_grad_(False)
        with self.descent.autocast():
            fake_Y, fake_X = G(noisy(X, config.latent_noise, self.descent.generator)), F(Y)
            X_again, Y_again = F(fake_Y), G(fake_X)
            gan_G = losses.gan_generator(D_Y(fake_Y, s))
            gan_F = losses.gan_generator(D_X(fake_X, s))
            cyc = losses.cycle(X, X_again, Y, Y_again)
            compared = {"paired": (Y, fake_Y), "input": (X, fake_Y), "cycle": (X, X_again)}[config.cos_target]
            cos = losses.cosine(*compared)
            pair = losses.pair_l1(Y, fake_Y)
            loss = losses.degrader(gan_G, gan_F, cyc, cos, config.lambda_cyc, config.lambda_cos)  # Eq. 15
        terms = {"loss_gan_G": gan_G, "loss_gan_F": gan_F, "loss_cyc": cyc, "loss_cos": cos, "loss_pair": pair}
        self.descent.step(loss + config.lambda_pair * pair, {"loss": loss, **terms})

        D_X.requires_grad_(True)
        D_Y.requires_grad_(True)
        generator = self.critic_descent.generator
        old_Y = self.pools["Y"][s - 1].query(tuple(y.detach() for y in fake_Y), generator)
        old_X = self.pools["X"][s - 1].query(tuple(x.detach() for x in fake_X), generator)
        with self.critic_descent.autocast():
            loss_D_X = losses.gan_discriminator(D_X(X, s), D_X(old_X, s))
            loss_D_Y = losses.gan_discriminator(D_Y(Y, s), D_Y(old_Y, s))
        terms = {"loss_D_X": loss_D_X, "loss_D_Y": loss_D_Y}
        self.critic_descent.step(loss_D_X + loss_D_Y, terms)  # Eq. 16, the inner maximisation

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        """PSNR of `direct` at its end, and G's one-step error from the true z_0, on the validation split."""
        T, G = self.images.T, self.descent.averaged["G"]
        height, width = self.images.validation.shape[-2:]
        images, errors = [], []
        for i in range(len(self.images.validation)):  # field by field, so that memory stays bounded
            z = tuple(group[i : i + 1] for group in self.z_validation)
            z_T = at_level(z, T)
            networks = inference.Networks(R=self.domain.R, G=bind(G, self.config.anchor, z_T), P=lambda z: z)
            z0_hat = inference.direct(z_T, networks, inference.Settings(T)).z0_hat[-1]
            images.append(self.domain.Dec(z0_hat)[:, 0, :height, :width])
            errors += one_step_errors(G, self.config.anchor, z)[: max(T - 1, 1)]
        scores = self.images.score(torch.cat(images))
        return {
            "val/psnr_direct": scores["val/psnr"],
            "val/psnr_ri_direct": scores["val/psnr_ri"],
            "val/one_step_error": sum(errors) / len(errors),
        }


def noisy(z: Latent, std: float, generator: torch.Generator) -> Latent:
    """z with Gaussian noise of this standard deviation; nothing is drawn for 0."""
    if not std:
        return z
    return tuple(group + std * torch.randn(group.shape, generator=generator, device=group.device) for group in z)


def bind(G: Any, anchor: str, z_T: Latent) -> Any:
    """G(z0_hat, s, z_t) as the loops call it, with the anchor that this degrader was trained with."""

    def bound(z0_hat: Latent, s: int, z_t: Latent) -> Latent:
        return G(z0_hat, s, {"none": None, "z_T": z_T, "z_t": z_t}[anchor])

    return bound


@torch.no_grad()
def one_step_errors(G: Any, anchor: str, z: Latent) -> list[float]:
    """Mean square of G(z_0, s) - z_s in standardised latents, averaged over groups, for s = 1 … T."""
    T = z[0].shape[1] - 1
    z_0, z_T = at_level(z, 0), at_level(z, T)
    operator = bind(G, anchor, z_T)
    return [
        float(losses.restoration_latent(at_level(z, s), operator(z_0, s, at_level(z, min(s + 1, T)))))
        for s in range(1, T + 1)
    ]


def _at(operator: Any, s: int, anchor: Latent | None) -> Any:
    return lambda z: operator(z, s, anchor)
