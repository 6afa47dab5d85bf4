"""Those of the source's 23 equations that no other file works out by hand: numpy against the networks of the house."""

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d

from dehazing import inference, losses
from dehazing.data.series import Field, Series
from dehazing.models.hvae import HVAE
from dehazing.models.restorer import LatentUNet
from dehazing.models.unet import UNet
from dehazing.pipeline.stage import Context
from dehazing.stages import degrader, predictions, restorer, weights
from dehazing.stages.elbo import elbo
from dehazing.stages.images import Images, draw_pairs

T = 2
LADDER = (2, 3, 4)


def shaken(module, seed=0, by=0.3):
    """Random weights everywhere, so that nothing is the identity it starts as."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(by * torch.randn(parameter.shape, generator=generator))
    return module.eval().requires_grad_(False)


def series(num_train=3, size=16):
    """Level t of field f is 10 f + t, and a little noise."""
    rng = np.random.default_rng(0)
    splits = [*["train"] * num_train, "validation", "test"]
    fields = tuple(
        Field(
            f"{f}",
            split,
            (10 * f + np.arange(T + 1)[:, None, None] + 0.01 * rng.random((T + 1, size, size))).astype("f4"),
        )
        for f, split in enumerate(splits)
    )
    return Series(fields, (1.0, 2.0, 3.0), "au", (0.0,) * (T + 1), (1.0,) * (T + 1))


def test_eq_1_and_3_what_least_squares_learns_is_the_conditional_mean():
    """Two inputs y; given the first x is 0 or 4, given the second 1, 1 or 7: the means are 2 and 3."""
    x = torch.tensor([0.0, 4.0, 1.0, 1.0, 7.0])
    y = torch.tensor([0, 0, 1, 1, 1])
    learned = torch.tensor([2.0, 3.0], requires_grad=True)
    loss = losses.restoration_pixel(x, learned[y])
    loss.backward()
    assert loss.item() == pytest.approx((4 + 4 + 4 + 4 + 16) / 5) and learned.grad.abs().max() < 1e-6
    for other in ([2.5, 3.0], [2.0, 1.0]):  # neither a little off nor the median
        assert losses.restoration_pixel(x, torch.tensor(other)[y]) > loss


def test_eq_3_pairs_are_a_level_of_a_field_and_the_clean_frame_of_the_same_field():
    images = Images(series(), "frame", "cpu")
    x_t, t, x_0 = draw_pairs(images, 400, 8, 0.5, torch.Generator().manual_seed(0))
    field = (x_0.mean((1, 2, 3)) / 10).round()
    assert torch.equal(x_0.mean((1, 2, 3)).round(), 10 * field)
    assert torch.equal(x_t.mean((1, 2, 3)).round(), 10 * field + t) and t.min() == 1
    assert (t == T).float().mean().item() == pytest.approx(0.75, abs=0.06)  # half of them, and half of the others


def conv(x, layer):
    """A convolution of an image (C, Y, X) with zeros around it, channel by channel."""
    weight, bias = layer.weight.numpy(), layer.bias.numpy()
    return np.stack(
        [
            sum(correlate2d(c, k, "same") for c, k in zip(x, w, strict=True)) + b
            for w, b in zip(weight, bias, strict=True)
        ]
    )


def silu(h):
    return h / (1 + np.exp(-h))


def test_eq_4_and_5_the_unet_s_prediction_by_hand():
    """One block at one resolution: x_t + head(h + second(silu(film(first(silu(norm(h))))))), h = stem(x_t)."""
    network = shaken(UNet(T, base=2, depth=0))
    (block,) = network.encoder[0]
    x_t = torch.randn(2, 9, 7, generator=torch.Generator().manual_seed(1))
    found = predictions.restore(network, x_t, 1)
    table, linear = network.level.table.weight.numpy()[1], network.level.mlp[1]
    embedded = silu(linear.weight.numpy() @ silu(table) + linear.bias.numpy())
    scale, shift = np.split(block.film.weight.numpy() @ embedded + block.film.bias.numpy(), 2)
    for image, made in zip(x_t.numpy(), found.numpy(), strict=True):
        h = conv(image[None], network.stem)
        normed = h / np.sqrt((h**2).mean(0) + 1e-6) * block.norm.gain.numpy()
        inner = conv(silu(normed), block.first) * (1 + scale[:, None, None]) + shift[:, None, None]
        np.testing.assert_allclose(
            made, (image + conv(h + conv(silu(inner), block.second), network.head))[0], atol=1e-4
        )


@pytest.fixture(scope="module")
def hvae():
    network = shaken(HVAE(LADDER, width=6))
    network.standardise(torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(5)))
    return network


def gaussians(hvae, x, z):
    """(q, p) of every group, with z taken as the sample of each."""
    found = [None] * len(z)

    def chosen(i, q, p):
        found[i] = (q, p)
        return z[i]

    hvae._down_the_ladder(hvae._up_the_ladder(x), chosen)
    return found


def drawn(seed, shapes):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(1, *shape, generator=generator) for shape in shapes)


SHAPES = ((2, 8, 8), (3, 4, 4), (4, 2, 2))


@pytest.mark.parametrize("changed", range(3))
def test_eq_7_and_8_a_group_depends_on_the_coarser_ones_and_its_posterior_on_the_image(hvae, changed):
    z, other = drawn(0, SHAPES), drawn(1, SHAPES)
    (x,), (x_other,) = drawn(2, [(1, 16, 16)]), drawn(3, [(1, 16, 16)])
    before = gaussians(hvae, x, z)
    after = gaussians(hvae, x, tuple(other[i] if i == changed else z[i] for i in range(3)))
    for i in range(3):
        q, p = (torch.equal(a.mean, b.mean) for a, b in zip(before[i], after[i], strict=True))
        assert (q, p) == (i >= changed, i >= changed), "z_i sees z_j for j > i alone"
    for (q, p), (q_other, p_other) in zip(before, gaussians(hvae, x_other, z), strict=True):
        assert torch.equal(p.mean, p_other.mean) and not torch.allclose(q.mean, q_other.mean)


def test_eq_7_the_coarsest_prior_knows_nothing(hvae):
    (_, coarsest), *_ = reversed(gaussians(hvae, drawn(0, [(1, 16, 16)])[0], drawn(1, SHAPES)))
    np.testing.assert_allclose(coarsest.mean.std((0, 2, 3)).numpy(), 0, atol=1e-6)  # the same everywhere


def test_eq_9_by_hand(hvae):
    (x,) = drawn(4, [(1, 16, 16)])
    torch.manual_seed(7)
    loss, _ = elbo(hvae, x, x, beta=0.3, free_nats=0.0)
    torch.manual_seed(7)
    mean, pairs = hvae(x)
    log_var = float(hvae.log_var)
    expected = 0.5 * np.mean(log_var + (x - mean).numpy() ** 2 / np.exp(log_var))
    for q, p in pairs:
        (m, v), (n, w) = ((g.mean.numpy(), np.exp(g.log_var.numpy())) for g in (q, p))
        expected += 0.3 * np.sum(0.5 * (np.log(w / v) + (v + (m - n) ** 2) / w - 1)) / 16**2
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_eq_10_latents_are_posterior_means_standardised_alike_at_every_level(hvae):
    x = drawn(0, [(3, 16, 16)])[0].transpose(0, 1)  # three levels
    means = [q.mean.numpy() for q in hvae.encode_gaussians(x)]
    offsets, scales = (np.split(v.numpy(), np.cumsum(LADDER)[:-1]) for v in (hvae.latent_mean, hvae.latent_std))
    for z_i, mean, m, s in zip(hvae.encode(x), means, offsets, scales, strict=True):
        np.testing.assert_allclose(z_i.numpy(), (mean - m[:, None, None]) / s[:, None, None], atol=1e-5)


def test_eq_11_R_is_told_the_level_of_all_samples():
    network = LatentUNet(LADDER, 4, T).eval()
    with torch.no_grad():
        network.linear.copy_(torch.arange(network.linear.numel()).reshape(network.linear.shape))
    z = tuple(torch.cat([a, b]) for a, b in zip(drawn(0, SHAPES), drawn(1, SHAPES), strict=True))
    gains, shifts = network.linear[2].detach().numpy()
    for z_i, found, g, o in zip(
        z, restorer.restore(network, z, 2), *(np.split(v, [2, 5]) for v in (gains, shifts)), strict=True
    ):
        np.testing.assert_allclose(found.numpy(), g[:, None, None] * z_i.numpy() + o[:, None, None], rtol=1e-5)


def test_eq_12_what_R_starts_as_is_the_least_squares_fit_of_z_0():
    z_0 = drawn(0, SHAPES)
    z_t = tuple(0.5 * a + 0.1 * b - 2 for a, b in zip(z_0, drawn(1, SHAPES), strict=True))
    network = LatentUNet(LADDER, 4, T)
    network.fit_linear(z_t, target=z_0, t=1)
    found = restorer.restore(network, z_t, 1)
    for z, z_hat, aim in zip(z_t, found, z_0, strict=True):
        for c in range(z.shape[1]):
            A = np.stack([z[:, c].numpy().ravel(), np.ones(z[:, c].numel())], 1).astype(np.float64)
            best = A @ np.linalg.lstsq(A, aim[:, c].numpy().ravel(), rcond=None)[0]
            np.testing.assert_allclose(z_hat[:, c].detach().numpy().ravel(), best, atol=2e-2)  # but for a small ridge


@pytest.fixture
def stage(tmp_path):
    """A degrader in pixels on an R of random weights, in the source's form."""
    R = shaken(LatentUNet((1, 0, 0, 0), 4, T), by=0.05)
    for name, content in weights.pack(R, {"channels": [1, 0, 0, 0], "width": 4, "T": T}).items():
        (tmp_path / name).write_bytes(content)
    config = degrader.Config(
        domain="pixels", discriminator_width=4, patch_px=8, batch_size=4, lambda_cyc=3.0, lambda_cos=2.0
    )
    return degrader.Stage(config, Context(series(), {"restorer_pixels": tmp_path}, 0, "cpu"))


@pytest.mark.parametrize("t", [1, 2])
def test_eq_13_X_is_what_R_makes_of_a_level_and_Y_the_level_below(stage, t):
    z = stage.z
    level, below = (t, t - 1) if t > 1 else (T, T)  # G to level T serves the residual update alone
    X, Y, anchor = stage._pairs(z, stage.z0_hat, below)
    R = stage.domain.restorer
    made = R((z[0][:, level],), t=torch.full((3,), level))[0].detach()
    np.testing.assert_allclose(X[0].numpy(), made.numpy(), atol=1e-5)
    assert torch.equal(Y[0], z[0][:, below]) and anchor is None
    assert (Y[0].mean((1, 2, 3)) % 10).round().tolist() == [below] * 3


def test_eq_14_every_step_has_a_pair_of_its_own(stage):
    G, F = (stage.descent.module[name] for name in ("G", "F"))
    assert len(G.networks) == len(F.networks) == T
    X, Y, _ = stage._draw(1)
    assert G(X, 1)[0].shape == Y[0].shape and F(Y, 1)[0].shape == X[0].shape
    with torch.no_grad():
        before = G(X, 2)[0].clone()
        G.networks[0].linear.add_(1.0)
        assert torch.equal(G(X, 2)[0], before)


def test_eq_15_by_hand(stage):
    X, Y, _ = stage._draw(1)
    stage.critic_descent.module.eval()  # so that spectral norms stay what they are
    with torch.no_grad():
        G, F = (stage.descent.module[name].networks[0] for name in ("G", "F"))
        D_X, D_Y = (stage.critic_descent.module[name] for name in ("D_X", "D_Y"))
        fake_Y, fake_X = G(X)[0], F(Y)[0]
        again_X, again_Y = F((fake_Y,))[0].numpy(), G((fake_X,))[0].numpy()
        scores = [D((fake,), 1)[0].numpy() for D, fake in ((D_Y, fake_Y), (D_X, fake_X))]
    x, y, made = X[0].numpy(), Y[0].numpy(), fake_Y.numpy()
    gan = sum(np.mean((score - 1) ** 2) for score in scores)
    cyc = np.mean(np.abs(again_X - x)) + np.mean(np.abs(again_Y - y))
    cos = np.mean([1 - np.sum(a * b) / np.sqrt(np.sum(a**2) * np.sum(b**2)) for a, b in zip(y, made, strict=True)])
    terms = terms_of_a_step(stage, X, Y, None)
    assert terms["train/loss"] == pytest.approx(gan + 3 * cyc + 2 * cos, rel=1e-4)
    assert terms["train/loss_cyc"] == pytest.approx(cyc, rel=1e-4)
    assert terms["train/loss_cos"] == pytest.approx(cos, abs=1e-5)


def terms_of_a_step(stage, X, Y, anchor):
    """The loss terms of one step towards level 1, as they are logged."""
    stage._step(X, Y, anchor, 1)
    return stage.descent.read() | stage.critic_descent.read()


@pytest.mark.parametrize("frozen", ["descent", "critic_descent"])
def test_eq_16_G_and_F_descend_where_the_discriminators_ascend(stage, frozen):
    """One side's rate is 0: it stands still, and the other's own loss falls on the same batch."""
    getattr(stage, frozen).lr = 0.0
    still, moved = (stage.descent, stage.critic_descent)[:: 1 if frozen == "descent" else -1]
    before = [parameter.clone() for parameter in still.module.parameters()]
    X, Y, anchor = stage._draw(1)
    steps = [terms_of_a_step(stage, X, Y, anchor) for _ in range(40)]
    assert all(torch.equal(a, b) for a, b in zip(before, still.module.parameters(), strict=True))
    own = ["train/loss_D_X", "train/loss_D_Y"] if frozen == "descent" else ["train/loss"]
    first, last = (sum(step[name] for name in own) for step in (steps[0], steps[-1]))
    assert last < 0.95 * first, (first, last)
    assert moved.num_done == 40


def test_eq_17_to_20_the_loop_written_out(hvae):
    """x0_hat = Dec(R(G(R(E(x_2), 2)), 1)) with the networks of the house."""
    R, G = shaken(LatentUNet(LADDER, 4, T), 1, 0.1), shaken(LatentUNet(LADDER, 4), 2, 0.1)
    (x_T,) = drawn(8, [(1, 16, 16)])
    one, two = torch.tensor([1]), torch.tensor([2])
    expected = hvae.decode(R(G(R(hvae.encode(x_T), t=two)), t=one))
    networks = inference.Networks(lambda z, t: restorer.restore(R, z, t), lambda z, s, z_t: G(z), P=lambda z: z)
    trajectory = inference.direct(hvae.encode(x_T), networks, inference.Settings(T))
    assert torch.equal(hvae.decode(trajectory.z0_hat[-1]), expected) and len(trajectory.z) == T
    assert all(torch.equal(a, b) for a, b in zip(trajectory.z[0], hvae.encode(x_T), strict=True))
