import pytest
import torch
from torch import nn

from dehazing.models import hdn
from dehazing.models.blocks import ChannelNorm, ResidualBlock, pad_to_multiple
from dehazing.models.degrader import Discriminator, Operator
from dehazing.models.hvae import HVAE, LOG_VAR_RANGE
from dehazing.models.restorer import LatentUNet
from dehazing.models.unet import UNet

CHANNELS = (2, 3, 4)


def shaken(module):
    """Random weights everywhere, so that nothing is the identity it starts as."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def latent(num=2, side=16, channels=CHANNELS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(num, c, side >> i, side >> i, generator=generator) for i, c in enumerate(channels))


def close(a, b, atol=1e-5):
    return all(torch.allclose(x, y, atol=atol) for x, y in zip(a, b, strict=True))


def test_the_norm_makes_every_pixel_s_mean_square_one():
    h = ChannelNorm(8)(3 * torch.randn(2, 8, 4, 4) + 1)
    torch.testing.assert_close(h.square().mean(1), torch.ones(2, 4, 4))


def test_a_block_starts_by_adding_a_constant_per_channel():
    x = torch.randn(2, 8, 4, 4)
    added = ResidualBlock(8, 5)(x, torch.randn(2, 5)) - x
    torch.testing.assert_close(added, added[:1, :, :1, :1].expand_as(added))


@pytest.mark.parametrize("size", [(16, 16), (17, 30), (1, 3), (64, 5)])
def test_padding_keeps_the_image_and_reaches_a_multiple(size):
    x = torch.randn(1, 1, *size)
    padded = pad_to_multiple(x, 8)
    assert padded.shape[-2] % 8 == padded.shape[-1] % 8 == 0
    assert torch.equal(padded[..., : size[0], : size[1]], x)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (7, 70)])
def test_a_unet_takes_any_image_and_starts_as_the_identity(size):
    x = torch.randn(2, 1, *size)
    network = UNet(T=3, base=4, depth=2)
    torch.testing.assert_close(network(x, torch.tensor([1, 3])), x)
    assert shaken(network)(x, torch.tensor([1, 3])).shape == x.shape


def test_a_unet_sees_the_level():
    network = shaken(UNet(T=3, base=4, depth=2))
    x = torch.randn(1, 1, 16, 16).expand(2, -1, -1, -1)
    at_1, at_3 = network(x, torch.tensor([1, 3]))
    assert not torch.allclose(at_1, at_3)


def test_a_tile_and_the_whole_image_agree():
    network = shaken(UNet(T=2, base=4, depth=1))
    x, t = torch.randn(1, 1, 64, 64), torch.tensor([2])
    whole, tile = network(x, t), network(x[..., 8:56, 8:56], t)
    margin = 14  # the receptive field
    inside = slice(8 + margin, 56 - margin)
    torch.testing.assert_close(whole[..., inside, inside], tile[..., margin:-margin, margin:-margin])


@pytest.fixture
def hvae():
    return shaken(HVAE(latent_channels=CHANNELS, width=8))


def test_latents_are_ordered_from_fine_to_coarse(hvae):
    z = hvae.encode(torch.randn(2, 1, 32, 48))
    assert [tuple(z_i.shape) for z_i in z] == [(2, 2, 16, 24), (2, 3, 8, 12), (2, 4, 4, 6)]


def test_an_image_of_any_size_is_padded_to_be_encoded(hvae):
    x = torch.randn(1, 1, 21, 30)
    z = hvae.encode(x)
    assert hvae.decode(z).shape == (1, 1, 24, 32)
    assert hvae(x)[0].shape == x.shape


def test_encoding_and_decoding_are_deterministic(hvae):
    x = torch.randn(2, 1, 16, 16)
    z = hvae.encode(x)
    assert close(z, hvae.encode(x), atol=0)
    assert torch.equal(hvae.decode(z), hvae.decode(z))
    assert not torch.equal(hvae(x)[0], hvae(x)[0])  # training draws from the posterior


def test_images_of_a_batch_do_not_see_each_other(hvae):
    x = torch.randn(3, 1, 16, 16)
    assert close(tuple(z_i[1:2] for z_i in hvae.encode(x)), hvae.encode(x[1:2]))


def test_standardising_changes_the_latents_but_not_what_they_decode_to(hvae):
    x = 2 * torch.randn(6, 1, 16, 16)
    before = hvae.encode(x)
    decoded = hvae.decode(before)
    hvae.standardise(x, chunk=4)
    after = hvae.encode(x)
    torch.testing.assert_close(hvae.decode(after), decoded, atol=1e-4, rtol=1e-4)
    variances = [q.log_var.exp() for q in hvae.encode_gaussians(x)]
    stds = hvae.latent_std.split(CHANNELS)
    for z, variance, std in zip(after, variances, stds, strict=True):
        assert z.mean((0, 2, 3)).abs().max() < 1e-4
        total = z.square().mean((0, 2, 3)) + (variance / std[:, None, None].square()).mean((0, 2, 3))
        torch.testing.assert_close(total, torch.ones_like(total), atol=1e-3, rtol=1e-3)
    assert not close(before, after)


def test_the_hierarchy_starts_at_a_standard_prior_with_bounded_variances():
    torch.manual_seed(0)
    network = HVAE(latent_channels=CHANNELS, width=8)
    _, gaussians = network(100 * torch.randn(2, 1, 16, 16))
    assert [tuple(q.mean.shape[1:]) for q, _ in gaussians] == [(2, 8, 8), (3, 4, 4), (4, 2, 2)]
    for q, p in gaussians:
        assert torch.equal(p.mean, torch.zeros_like(p.mean)) and torch.equal(p.log_var, torch.zeros_like(p.mean))
        assert q.log_var.min() >= LOG_VAR_RANGE[0] and q.log_var.max() <= LOG_VAR_RANGE[1]


def test_log_variances_are_clamped_to_the_range_that_is_set():
    network = shaken(HVAE(latent_channels=CHANNELS, width=8, log_var_range=(-0.5, 0.25)))
    _, gaussians = network(100 * torch.randn(2, 1, 16, 16))
    values = torch.cat([part.log_var.flatten() for pair in gaussians for part in pair])
    assert values.min() == -0.5 and values.max() == 0.25


def test_a_group_from_its_prior_is_decoded_without_being_read(hvae):
    z = hvae.encode(torch.randn(2, 1, 16, 16))
    whole = hvae.decode(z)
    for i in range(len(CHANNELS)):
        without = hvae.decode(z, from_prior=(i,))
        garbled = tuple(z_j + 7.0 if j == i else z_j for j, z_j in enumerate(z))
        assert torch.equal(hvae.decode(garbled, from_prior=(i,)), without)
        assert not torch.allclose(without, whole)


def test_the_prior_that_stands_for_a_group_knows_the_groups_above(hvae):
    """By hand, rung by rung, for the middle one of three groups."""
    z = hvae.encode(torch.randn(1, 1, 16, 16))
    raw = [z_i * s + m for z_i, (m, s) in zip(z, hvae._statistics(), strict=True)]
    h = hvae.top.expand(1, -1, 2, 2)
    h = hvae.ups[2](hvae.groups[2](h, raw[2]))
    h = hvae.ups[1](hvae.groups[1](h, hvae.groups[1].prior(h)[:, : CHANNELS[1]]))
    h = hvae.ups[0](hvae.groups[0](h, raw[0]))
    torch.testing.assert_close(hvae.decode(z, from_prior=(1,)), hvae.head(h))


def test_hdn_samples_repeat_by_seed_and_leave_torch_s_generator_alone(hvae):
    x = torch.randn(2, 1, 16, 16)
    before = torch.get_rng_state()
    first = hdn.sample(hvae, x, 3, torch.Generator().manual_seed(1))
    again = hdn.sample(hvae, x, 3, torch.Generator().manual_seed(1))
    other = hdn.sample(hvae, x, 3, torch.Generator().manual_seed(2))
    assert first.shape == (3, 2, 1, 16, 16)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("channels", [CHANNELS, (1, 0, 0)])
def test_a_latent_unet_starts_as_the_identity_on_its_first_input(channels):
    z = latent(channels=tuple(c for c in channels if c))
    network = LatentUNet(channels, width=8, T=3)
    assert close(network(z, t=torch.tensor([1, 3])), z, atol=0)
    out = shaken(network)(z, t=torch.tensor([1, 3]))
    assert [z_i.shape for z_i in out] == [z_i.shape for z_i in z] and not close(out, z)


def test_every_group_informs_every_other():
    network = shaken(LatentUNet(CHANNELS, width=8))
    z = latent()
    expected = network(z)
    for i in range(len(CHANNELS)):
        changed = tuple(z_i + (1.0 if j == i else 0.0) for j, z_i in enumerate(z))
        out = network(changed)
        assert all(not torch.allclose(a, b) for a, b in zip(out, expected, strict=True))


@pytest.mark.parametrize("shared", [False, True])
def test_an_operator_has_its_own_way_to_each_level(shared):
    G = shaken(Operator(CHANNELS, width=8, T=3, shared=shared, anchored=False))
    z = latent()
    outputs = [G(z, s) for s in (1, 2, 3)]
    assert len(G.networks) == (1 if shared else 3)
    assert not close(outputs[0], outputs[1]) and not close(outputs[1], outputs[2])


def test_an_operator_per_step_trains_one_step_alone():
    G = shaken(Operator(CHANNELS, width=8, T=3, shared=False, anchored=False))
    sum(z_i.sum() for z_i in G(latent(), 2)).backward()
    has_gradient = [any(p.grad is not None for p in network.parameters()) for network in G.networks]
    assert has_gradient == [False, True, False]


def test_an_anchored_operator_sees_its_anchor():
    G = shaken(Operator(CHANNELS, width=8, T=3, shared=True, anchored=True))
    z = latent()
    assert not close(G(z, 2, latent(seed=1)), G(z, 2, latent(seed=2)))
    with pytest.raises(ValueError, match="anchored"):
        G(z, 2)


def test_a_blind_operator_does_not_see_one():
    G = shaken(Operator(CHANNELS, width=8, T=3, shared=True, anchored=False))
    assert close(G(latent(), 2, latent(seed=1)), G(latent(), 2), atol=0)


@pytest.mark.parametrize("shared", [False, True])
def test_a_discriminator_scores_patches_of_every_group(shared):
    D = shaken(Discriminator(CHANNELS, width=8, T=3, shared=shared))
    z = latent()
    scores = D(z, 1)
    assert [tuple(score.shape) for score in scores] == [(2, 1, 16, 16), (2, 1, 8, 8), (2, 1, 4, 4)]
    assert not close(scores, D(z, 3))


def test_a_discriminator_is_spectrally_normed():
    torch.manual_seed(0)
    D = Discriminator(CHANNELS, width=8, T=1, shared=False)
    for _ in range(50):
        D(latent(), 1)
    D.eval()
    norms = [torch.linalg.matrix_norm(m.weight.flatten(1), 2) for m in D.modules() if isinstance(m, nn.Conv2d)]
    torch.testing.assert_close(torch.stack(norms), torch.ones(len(norms)), atol=1e-2, rtol=0)
