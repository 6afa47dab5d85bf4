"""A level outside 0 … T is refused wherever one is handed over; Python alone would take -1 for the last."""

import pytest
import torch

from dehazing import inference, schedules, tiled_networks
from dehazing.data.latents import at_level
from dehazing.levels import require_level
from dehazing.models.degrader import Discriminator, Operator
from dehazing.models.restorer import LatentUNet
from dehazing.models.unet import UNet
from dehazing.moments import matched, moments_of
from dehazing.stages import predictions, restorer
from dehazing.stages.loop_domain import LoopDomain
from dehazing.stages.space import PIXEL_CHANNELS

T = 3
CHANNELS = (2, 2)
Z = (torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 4, 4))
ALL = tuple(torch.zeros(2, T + 1, *group.shape[1:]) for group in Z)
UNETS = UNet(T, base=4, depth=2)
IN_PIXELS = LatentUNet(PIXEL_CHANNELS, width=4, T=T)
LATENT = LatentUNet(CHANNELS, width=4, T=T)
OPERATORS = {shared: Operator(CHANNELS, 4, T, shared, anchored=False) for shared in (False, True)}
CRITICS = {shared: Discriminator(CHANNELS, 4, T, shared) for shared in (False, True)}


def in_pixels():
    """The pixel domain without its published folder."""
    domain = LoopDomain.__new__(LoopDomain)
    domain.domain, domain.restorer = "pixels", IN_PIXELS
    return domain


FROM_0 = {
    "restore of a UNet": lambda t: predictions.restore(UNETS, torch.zeros(1, 8, 8), t),
    "restore of restorer": lambda t: restorer.restore(LATENT, Z, t),
    "a UNet itself": lambda t: UNETS(torch.zeros(1, 1, 8, 8), torch.tensor([t])),
    "R itself": lambda t: LATENT(Z, t=torch.tensor([t])),
    "fit_linear": lambda t: LATENT.fit_linear(Z, target=Z, t=t),
    "R in pixels": lambda t: in_pixels().R((torch.zeros(1, 1, 8, 8),), t),
    "UNet in tiles": lambda t: tiled_networks.one_shot(UNETS, t),
    "R in tiles": lambda t: tiled_networks.restorer(LATENT, t),
    "latents of a level": lambda t: at_level(ALL, t),
    "moments of a level": lambda t: matched(Z, t, moments_of(ALL)),
}
FROM_1 = {
    "G, a pair per step": lambda s: OPERATORS[False](Z, s),
    "G, one shared pair": lambda s: OPERATORS[True](Z, s),
    "its linear start": lambda s: OPERATORS[False].fit_linear(Z, s, None, Z),
    "D, a pair per step": lambda s: CRITICS[False](Z, s),
    "D, one shared pair": lambda s: CRITICS[True](Z, s),
}


@pytest.mark.parametrize("t", [-1, T + 1])
@pytest.mark.parametrize("name", FROM_0)
def test_a_level_outside_0_to_T_is_refused(name, t):
    with pytest.raises(ValueError, match=rf"(0 <= t <= {T}|0 … {T}).*t = \[?{t}\]?\.$") as refusal:
        FROM_0[name](t)
    assert "\n" not in str(refusal.value)
    for valid in (0, T):
        FROM_0[name](valid)


@pytest.mark.parametrize("s", [-1, 0, T + 1])
@pytest.mark.parametrize("name", FROM_1)
def test_G_and_its_discriminator_know_the_levels_1_to_T(name, s):
    with pytest.raises(ValueError, match=f"`1 <= s <= {T}`, but got s = {s}"):
        FROM_1[name](s)
    for valid in (1, T):
        FROM_1[name](valid)


def test_the_ends_are_levels():
    require_level(0, 0)
    require_level(5, 5, lowest=1)


def test_a_loop_has_a_step_at_least_and_schedules_with_an_entry_for_every_level():
    with pytest.raises(ValueError, match="`T >= 1` must hold for a loop, but got T = 0"):
        inference.Settings(0)
    for name in ("combine_alpha", "haze_alpha"):
        inference.Settings(T, **{name: [0.0] * (T + 1)})
        with pytest.raises(ValueError, match=f"`{name}` must have an entry for each level 0 … {T}, but has {T}"):
            inference.Settings(T, **{name: [0.0] * T})
    with pytest.raises(ValueError, match="`T >= 1` must hold, but got T=0"):
        schedules.combine_alpha({"kind": "linear"}, 0)
