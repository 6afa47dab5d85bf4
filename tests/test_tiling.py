"""Tile by tile is what the whole image gives, on networks trained for a moment; and how far they see."""

import pytest
import torch

from dehazing import tiled_networks
from dehazing.models import hdn
from dehazing.models.degrader import Operator
from dehazing.models.hvae import HVAE
from dehazing.models.restorer import LatentUNet
from dehazing.models.unet import UNet
from dehazing.stages.space import PIXEL_CHANNELS
from dehazing.tiling import Tiled, margin_of

CHANNELS = (2, 2, 3)
T = 2
SIZES = [(203, 130), (90, 257), (24, 300), (64, 64)]
AGREES = 1e-3  # of the range, what is demanded
EXACT = 2e-5  # of the range, what it comes to: rounding


def image(height, width, num=1, seed=0):
    """Smooth blobs and a little noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(num, 1, height // 8 + 2, width // 8 + 2, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, scale_factor=8, mode="bilinear")[..., :height, :width]
    return smooth + 0.1 * torch.randn(num, 1, height, width, generator=generator)


def trained(network, loss, num_steps=25):
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for step in range(num_steps):
        optimizer.zero_grad()
        loss(image(48, 48, 4, seed=step)).backward()
        optimizer.step()
    return network.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    network = UNet(T, base=4, depth=2)
    return trained(network, lambda x: (network(x, torch.full((len(x),), T)) - x.square()).square().mean())


@pytest.fixture(scope="module")
def hvae():
    torch.manual_seed(0)
    network = HVAE(CHANNELS, width=8)
    network = trained(network, lambda x: (network(x)[0] - x).square().mean())
    network.standardise(image(48, 48, 8))
    return network


@pytest.fixture(scope="module")
def restorer(hvae):
    torch.manual_seed(0)
    network = LatentUNet(CHANNELS, width=8, T=T)

    def loss(x):
        z = hvae.encode(x)
        z0_hat = network(z, t=torch.full((len(x),), T))
        return sum((a - b.square()).square().mean() for a, b in zip(z0_hat, z, strict=True))

    return trained(network, loss)


def error(tiled, whole):
    """The largest difference, in ranges of the whole."""
    assert tiled.shape == whole.shape
    return float((tiled - whole).abs().max() / (whole.max() - whole.min()))


@pytest.mark.parametrize("size", SIZES)
def test_the_unet_restores_tiles_as_it_restores_the_whole(unet, size):
    x = image(*size, num=2)
    assert error(tiled_networks.one_shot(unet, T, tile_px=32)(x), unet(x, torch.tensor([T, T]))) < EXACT < AGREES


@pytest.mark.parametrize("size", SIZES)
def test_latents_and_what_they_decode_to_are_those_of_the_whole(hvae, size):
    x = image(*size)
    z = hvae.encode(x)
    for tiled, whole in zip(tiled_networks.encoder(hvae, tile_px=32)(x), z, strict=True):
        assert error(tiled, whole) < EXACT
    assert error(tiled_networks.decoder(hvae, tile_px=32)(z), hvae.decode(z)) < EXACT
    whole = hvae.decode(z)[..., : size[0], : size[1]]
    assert error(tiled_networks.autoencoder(hvae, tile_px=32)(x), whole) < EXACT


def test_latents_are_restored_tile_by_tile_as_whole_ones(hvae, restorer):
    z = hvae.encode(image(203, 130))
    for tiled, whole in zip(
        tiled_networks.restorer(restorer, T, tile_px=32)(z), restorer(z, t=torch.tensor([T])), strict=True
    ):
        assert error(tiled, whole) < EXACT


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("anchored", [False, True])
def test_latents_are_degraded_tile_by_tile_as_whole_ones(hvae, shared, anchored):
    torch.manual_seed(0)
    G = Operator(CHANNELS, 8, T, shared, anchored)
    for parameter in G.parameters():  # untrained, its residual is zero: it would see but one pixel
        torch.nn.init.normal_(parameter, std=0.1)
    G = G.requires_grad_(False).eval()
    z, z_T = hvae.encode(image(203, 130)), hvae.encode(image(203, 130, seed=1))
    for s in range(1, T + 1):
        tiled = tiled_networks.degrader(G, s, tile_px=32)
        made = tiled(z, z_T) if anchored else tiled(z)
        for part, whole in zip(made, G(z, s, z_T if anchored else None), strict=True):
            assert error(part, whole) < EXACT
    if anchored:
        with pytest.raises(ValueError, match="needs the latent that it is anchored on"):
            tiled(z)


def test_samples_are_those_of_the_whole_image_and_every_tile_is_told(hvae):
    x, told = image(100, 130), []
    whole = hdn.sample(hvae, x, 3, torch.Generator().manual_seed(3))
    samples = tiled_networks.hdn_samples(hvae, 3, tile_px=64, on_tile=lambda: told.append(1))
    assert error(torch.cat([*samples(x, torch.Generator().manual_seed(3))]), whole) < EXACT
    assert len(told) == 2 * 3


@pytest.mark.parametrize(("tile_px", "num_tiles"), [(32, 6 * 4), (48, 4 * 3), (512, 1)])
def test_an_r_in_pixels_restores_tiles_as_the_whole_image(tile_px, num_tiles):
    torch.manual_seed(0)
    network = LatentUNet(PIXEL_CHANNELS, width=8, T=T)
    for parameter in network.parameters():  # untrained, its residual is zero: it would see but one pixel
        torch.nn.init.normal_(parameter, std=0.1)
    network = network.requires_grad_(False).eval()
    z, seen = (image(192, 128),), []
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0].shape))
    restore = tiled_networks.restorer(network, T, tile_px=tile_px)
    seen.clear()  # of the search for what it sees
    (tiled,) = restore(z)
    assert len(seen) == num_tiles
    (whole,) = network(z, t=torch.tensor([T]))
    assert error(tiled, whole) < EXACT
    too_narrow = Tiled(lambda x: network((x,), t=torch.tensor([T])), (1,), (1,), 8, 32, margin_px=8)(*z)[0]
    assert error(too_narrow, whole) > EXACT, "it sees farther than 8 px"


@pytest.mark.parametrize(("size", "num_samples"), [((203, 130), 12), ((90, 257), 3)])
def test_the_mean_of_samples_is_the_same_with_the_same_seed(hvae, size, num_samples, monkeypatch):
    monkeypatch.setattr(hdn, "PIXELS_AT_ONCE", 5 * size[0] * size[1])  # samples are drawn five at a time
    x = image(*size)
    whole = hdn.sample(hvae, x, num_samples, torch.Generator().manual_seed(3)).mean(0)
    mean = tiled_networks.hdn(hvae, num_samples, tile_px=64)
    assert error(mean(x, torch.Generator().manual_seed(3)), whole) < EXACT
    assert error(mean(x, torch.Generator().manual_seed(4)), whole) > AGREES


def test_a_margin_that_is_too_small_is_seen(unet, hvae):
    x = image(200, 128)
    for call, multiple, whole in (
        (lambda x: (unet(x, torch.tensor([T])),), 4, (unet(x, torch.tensor([T])),)),
        (hvae.encode, 8, hvae.encode(x)),
    ):
        tiled = Tiled(call, (1,), (1,), multiple, tile_px=32, margin_px=0)(x)
        assert max(error(a, b) for a, b in zip(tiled, whole, strict=True)) > AGREES


def test_what_a_network_sees_is_what_its_convolutions_add_up_to():
    """Reaches of 3 x 3 convolutions, in px of their resolution, rounded up to what the network halves by."""
    network = UNet(
        T, base=4, depth=2
    )  # stem 1, encoder 2 at 1 and 2 px, bottom 2 at 4 px, decoder as the encoder, head 1
    assert (
        margin_of(lambda x: (network(x, torch.tensor([T])),), (1,), (1,), 4) == -(-(1 + 2 + 4 + 8 + 4 + 2 + 1) // 4) * 4
    )
    ladder = HVAE(CHANNELS, width=8)  # two convolutions a block: stem 3, up 2 each, at 8, 4, 2 px; top-down 4, 4 and 2
    assert margin_of(ladder.encode, (1,), (1,), 8) == -(-(3 + 2 * 14 + 4 * 12 + 2 * 2) // 8) * 8
    latent = LatentUNet(CHANNELS, width=8, T=T)
    margin = margin_of(lambda *z: latent(z, t=torch.tensor([T])), CHANNELS, (2, 4, 8), 8)
    assert margin == -(-(2 + 2 * 2 + 2 * 4 + 4 * 8 + 2 * 4 + 2 * 2 + 2) // 8) * 8


def test_a_network_without_a_neighbourhood_needs_no_margin_and_one_that_sees_all_is_refused():
    assert margin_of(lambda x: (2 * x,), (1,), (1,), 4) == 0
    assert margin_of(lambda x: (torch.roll(x, 5, -2),), (1,), (1,), 4) == 8  # 5 px, along one axis alone
    with pytest.raises(ValueError, match="this one sees 8192 px or more"):
        margin_of(lambda x: (x - x.mean(),), (1,), (1,), 4)


def test_no_call_is_larger_than_a_tile_with_its_margins():
    seen = []

    def call(x):
        seen.append(tuple(x.shape[-2:]))
        return (x,)

    x = image(96, 200)
    assert torch.equal(Tiled(call, (1,), (1,), 8, tile_px=30, margin_px=12)(x)[0], x)
    assert len(seen) == 3 * 7 and max(seen) == (64, 64)  # 32 px with 16 px on either side


@pytest.mark.parametrize(("setting", "text"), [({"tile_px": 0}, "tile_px > 0"), ({"margin_px": -1}, "margin_px >= 0")])
def test_settings_that_make_no_tiles_are_refused(setting, text):
    with pytest.raises(ValueError, match=text):
        Tiled(lambda x: (x,), (1,), (1,), 4, **setting)


def test_inputs_that_do_not_belong_together_are_refused():
    tiled = Tiled(lambda x, z: (x,), (1, 1), (1, 2), 4, margin_px=0)
    with pytest.raises(ValueError, match="multiples of 4 px, but is 8 x 8 px and 8 x 16 px"):
        tiled(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 4, 8))
    with pytest.raises(ValueError, match="multiples of 4 px, but is 6 x 8 px"):
        tiled(torch.zeros(1, 1, 6, 8), torch.zeros(1, 1, 3, 4))
