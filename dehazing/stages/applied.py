"""Published networks on an image of any size: every call tiled, what lies between the calls held whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dehazing import inference, schedules, tiled_networks
from dehazing.data.latents import Latent
from dehazing.levels import require_level
from dehazing.moments import matched, moments_of
from dehazing.stages import weights
from dehazing.stages.configuration import Configuration
from dehazing.stages.lineage import require_latents_of
from dehazing.stages.loop_domain import LoopDomain
from dehazing.sweep import Operators, Sweep, Symbol, calls, evaluate
from dehazing.tiling import TILE_PX

FIELDS_OF_HAZE, FIELDS_OF_MOMENTS = 8, 32  # training fields that the loops' settings are fitted on, as in `fields`


class Restored(NamedTuple):
    """Images (N, 1, Y, X), normalised as level 0 is."""

    x0_hat: Tensor
    spread: Tensor | None = None  # standard deviation of a posterior sample


class Tiles(NamedTuple):
    """How calls are tiled."""

    device: str = "cpu"
    tile_px: int = TILE_PX
    on_tile: Callable[[], None] | None = None

    def of(self, make: Callable[..., Any], *arguments: Any) -> Any:
        """The tiled call that a function of `tiled_networks` makes."""
        return make(*arguments, tile_px=self.tile_px, device=self.device, on_tile=self.on_tile)


ON_CPU = Tiles()


class OneShot:
    """UNet or NAFNet, R(x_t, t)."""

    has_spread = False

    def __init__(self, folder: Path, tiles: Tiles = ON_CPU) -> None:
        self.network, self.tiles = weights.load(folder, tiles.device), tiles
        self._at = lru_cache(maxsize=None)(lambda t: tiles.of(tiled_networks.one_shot, self.network, t))

    def num_calls(self, t: int) -> int:
        """How often a network sees the whole image."""
        return 1

    @torch.no_grad()
    def __call__(self, x_t: Tensor, t: int, seed: int = 0, spread: bool = False) -> Restored:
        require_level(t, self.network.T, lowest=1)
        return Restored(self._at(t)(x_t))


class Posterior:
    """HDN, the mean of posterior samples; it is told no level. num_samples: those of its settings by default."""

    has_spread = True

    def __init__(self, folder: Path, tiles: Tiles = ON_CPU, num_samples: int | None = None) -> None:
        settings = json.loads((folder / "config.json").read_bytes())["config"]
        self.num_samples = num_samples or int(settings["num_samples"])
        network = weights.load(folder, tiles.device)
        self._samples = tiles.of(tiled_networks.hdn_samples, network, self.num_samples)

    def num_calls(self, t: int) -> int:
        """How often a network sees the whole image, where a sample is drawn at a time, as of large ones."""
        return self.num_samples

    @torch.no_grad()
    def __call__(self, x_t: Tensor, t: int, seed: int = 0, spread: bool = False) -> Restored:
        """spread: needs two samples."""
        total, squares = torch.zeros_like(x_t), torch.zeros_like(x_t) if spread else None
        first: Tensor | None = None  # about which squares are summed, as they would lose digits about 0
        for drawn in self._samples(x_t, torch.Generator().manual_seed(seed)):
            first = drawn[0].clone() if first is None else first
            drawn = drawn - first
            total += drawn.sum(0)
            if squares is not None:
                squares += drawn.square().sum(0)
        assert first is not None
        mean = total / self.num_samples
        if squares is None:
            return Restored(first + mean)
        if self.num_samples < 2:
            raise ValueError(f"A spread needs at least two samples, but this HDN draws {self.num_samples}.")
        variance = (squares - self.num_samples * mean.square()) / (self.num_samples - 1)
        return Restored(first + mean, variance.clamp(min=0).sqrt())


class Loop:
    """One way to iterate, from the level of the image down to 1, whatever `start` says.

    upstreams: role → published folder, as the stage `iterative` has them. x_train: normalised training fields,
    (N, T + 1, Y, X), which Eq. 2 and the moments are fitted on, at the levels up to the image's.
    """

    has_spread = False

    def __init__(
        self, configuration: Configuration, upstreams: Mapping[str, Path], x_train: Tensor, tiles: Tiles = ON_CPU
    ) -> None:
        self.configuration, self.tiles, self.x_train = configuration, tiles, x_train
        self.domain = LoopDomain(configuration.domain, upstreams, tiles.device)
        self.anchor, role = "none", configuration.degrader
        self.G: Any = None
        if configuration.has_G:
            if configuration.domain == "latents":
                require_latents_of(upstreams["hvae"], {role: upstreams[role]})
            self.anchor = json.loads((upstreams[role] / "config.json").read_bytes())["config"]["anchor"]
            self.G = weights.load(upstreams[role], tiles.device)
        if self.domain.hvae is not None:
            self._E = tiles.of(tiled_networks.encoder, self.domain.hvae)
            self._Dec = tiles.of(tiled_networks.decoder, self.domain.hvae)
        else:
            self._E, self._Dec = self.domain.E, self.domain.Dec
        self._R = lru_cache(maxsize=None)(lambda t: tiles.of(tiled_networks.restorer, self.domain.restorer, t))
        self._G = lru_cache(maxsize=None)(lambda s: tiles.of(tiled_networks.degrader, self.G, s))
        self._fitted = lru_cache(maxsize=None)(self._fit)
        self._planned = lru_cache(maxsize=None)(self._plan)

    def num_calls(self, t: int) -> int:
        """How often a network sees the whole image."""
        called = calls([self._planned(t)])
        ends = 0 if self.domain.hvae is None else 2
        return called["R"] + called["G"] + ends * (called["P"] + 1)

    @torch.no_grad()
    def __call__(self, x_t: Tensor, t: int, seed: int = 0, spread: bool = False) -> Restored:
        z_t, last = self._E(x_t), self._planned(t)
        height, width = x_t.shape[-2:]
        images: list[Tensor] = []

        def P(z: Latent) -> Latent:
            return self._E(self._Dec(z)[..., :height, :width])

        def G(z0_hat: Latent, s: int, *anchors: Latent) -> Latent:
            return self._G(s)(z0_hat, *anchors)

        def match(z: Latent, level: int, z_T: Latent | None = None) -> Latent:
            return matched(z, level, self._fitted(t)[1], z_T)

        def decode(found: dict[Symbol, Latent]) -> None:
            images.extend(self._Dec(z0_hat)[..., :height, :width] for z0_hat in found.values())

        operators = Operators(lambda z, level: self._R(level)(z), {self.configuration.degrader: G}, P, match)
        evaluate([last], z_t, operators, decode)
        return Restored(images[0])

    def _plan(self, t: int) -> Any:
        """The last prediction of the loop from level t, as a symbol."""
        require_level(t, self.domain.restorer.T, lowest=1)
        one, sweep = self.configuration, Sweep()
        settings = one.settings(t, self._fitted(t)[0])
        networks = sweep.networks(one.degrader, self.anchor, one.match)
        return inference.VARIANTS[one.variant](sweep.z_T, networks, settings).z0_hat[-1]

    @torch.no_grad()
    def _fit(self, t: int) -> tuple[list[float], Any]:
        """haze_alpha of Eq. 2 between level 0 and t, and the moments of the levels up to there."""
        x = self.x_train[:, : t + 1]
        haze = self.domain.encode(x[:FIELDS_OF_HAZE])
        alpha = schedules.fitted(torch.cat([group.flatten(2) for group in haze], 2)).tolist()
        if self.configuration.match == "none":
            return alpha, None
        return alpha, moments_of(self.domain.encode(x[:FIELDS_OF_MOMENTS]))
