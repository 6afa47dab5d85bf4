"""Stage `hdn`: the generative one-shot baseline, a hierarchical VAE that sees x_t and explains x_0, on all levels."""

from __future__ import annotations

from dataclasses import dataclass

from dehazing.pipeline.stage import Context
from dehazing.stages import weights
from dehazing.stages.bounds import require
from dehazing.stages.elbo import elbo, ramped
from dehazing.stages.images import CLEAN_TARGETS, draw_pairs
from dehazing.stages.ladder import Ladder, LadderSettings
from dehazing.stages.posterior_mean import restore


@dataclass(frozen=True)
class Config(LadderSettings):
    """Hyperparameters of the stage `hdn`."""

    # scientific
    beta: float = 0.02
    num_samples: int = 8  # of the posterior, averaged into the prediction
    share_at_T: float = 0.25
    # fixed
    clean_target: str = "frame"
    num_epochs: int = 18

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, positive=("num_samples",), shares=("share_at_T",), choices={"clean_target": CLEAN_TARGETS})


def needs(config: Config) -> tuple[str, ...]:
    """Roles of the upstream stages: none."""
    return ()


class Stage(Ladder):
    """Trains HDN; its prediction is the mean of posterior samples."""

    def __init__(self, config: Config, context: Context):
        super().__init__(config, context, config.clean_target)
        self.config, self.seed = config, context.seed

    def train_epoch(self) -> dict[str, float]:
        self.images.renew(self.epoch)
        for _ in range(self.config.steps_per_epoch):
            self.train_step()
        return {**self.descent.read(), **self._validate(self.images.T, num_samples=2)}

    def train_step(self) -> None:
        """One step of an epoch, on what it draws itself; nothing in it waits for the device."""
        x_t, _, x_0 = draw_pairs(
            self.images,
            self.config.batch_size,
            self.config.patch_px,
            self.config.share_at_T,
            self.descent.generator,
        )
        beta = ramped(self.config.beta, self.descent.num_done, self.descent.num_steps, self.config.kl_ramp)
        with self.descent.autocast():
            loss, rec = elbo(self.descent.module, x_t, x_0, beta, self.config.free_nats)
        self.descent.step(loss, {"loss": loss, "loss_rec": rec})

    def finish(self) -> dict[str, bytes]:
        scores = [self._validate(t, self.config.num_samples) for t in range(1, self.images.T + 1)]
        self.final = {**scores[-1], "val/psnr_mean_over_levels": sum(s["val/psnr"] for s in scores) / len(scores)}
        return weights.pack(self.descent.averaged, self.architecture)

    def _validate(self, t: int, num_samples: int) -> dict[str, float]:
        return self.images.score(restore(self.descent.averaged, self.images.validation[:, t], num_samples, self.seed))
