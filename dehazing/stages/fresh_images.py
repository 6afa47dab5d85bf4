"""Images of a simulated series whose training fields give way to new ones as the epochs go by."""

from __future__ import annotations

import torch

from dehazing.data.fresh import FreshFields
from dehazing.data.series import Series
from dehazing.stages.images import Images


class FreshImages(Images):
    """The images, and how they are renewed; apart from them, as what is never renewed depends on no simulator.

    fresh_every: epochs after which the training fields give way to new ones; 0: never, as of an acquired series.
    """

    def __init__(self, series: Series, clean_target: str, device: str, fresh_every: int, seed: int):
        super().__init__(series, clean_target, device)
        self.fresh_every, self._seed, self._round = fresh_every, seed, 0
        self._fresh = FreshFields(series, device) if fresh_every else None

    def renew(self, epoch: int) -> None:
        """To be called before each epoch (0, 1, …); the fields of an epoch follow from the seed, whatever came before.

        The first `fresh_every` epochs see the fields of the series.
        """
        if self._fresh is None or epoch // self.fresh_every == self._round:
            return
        self._round = epoch // self.fresh_every
        generator = torch.Generator(self.train.device).manual_seed(1_000_003 * self._seed + self._round)
        self.train, truth = self._fresh.draw(len(self.train), generator)
        target = self.train if self.clean_target == "frame" else truth
        self.train_with_target = torch.cat([self.train, target[:, :1]], 1)
