"""Every loop by hand on numbers, and by its properties on latents of two groups."""

import pytest
import torch

from dehazing.inference import (
    COMBINATIONS,
    REFINEMENTS,
    VARIANTS,
    WITHOUT_G,
    Networks,
    Settings,
)

T = 3
B = 4
SHAPES = ((2, 8, 8), (3, 4, 4))


def settings(alpha=0.5, K=1, T=T, **others):
    return Settings(
        T=T,
        combine_alpha=[alpha] * (T + 1),
        num_refinements=K,
        haze_alpha=[0.0, 0.25, 0.5, 1.0][: T + 1],
        **others,
    )


def number(value):
    return (torch.full((1, 1, 1, 1), value, dtype=torch.float64),)


HALVES = Networks(  # small enough to follow by hand
    R=lambda z, t: (z[0] / 2,),
    G=lambda z0_hat, s, z_t: (z0_hat[0] + s,),
    P=lambda z: (z[0] - 1,),
)


@pytest.mark.parametrize(
    ("variant", "others", "z", "z0_hat"),
    [
        ("direct", {}, [8, 6, 4], [4, 3, 2]),
        ("combine_z", {}, [8, 7, 5.75], [4, 3.5, 2.875]),
        ("combine_z", {"reference": "first"}, [8, 7, 6.25], [4, 3.5, 3.125]),
        ("combine_z0", {}, [8, 6, 4.5], [4, 3.5, 2.875]),
        ("combine_z0", {"reference": "first"}, [8, 6, 4.5], [4, 3.5, 3.125]),
        ("combine_both", {}, [8, 7, 5.875], [4, 3.75, 3.34375]),
        ("refine_G", {}, [8, 4.5, 2.125], [4, 2.25, 1.0625]),
        ("refine_R", {}, [8, 3.5, 1.375], [1.5, 0.375, -0.15625]),
        ("refine_both", {}, [8, 3.25, 1.15625], [1.5, 0.3125, -0.2109375]),
        ("residual", {}, [8, 7, 6], [4, 3.5, 3]),
        ("bridge", {}, [8, 6, 4.25], [4, 3, 2.125]),
        ("indi", {}, [8, 6, 4.5], [4, 3, 2.25]),
        ("identity", {}, [8, 8, 8], [4, 4, 4]),
        ("stop", {}, [8, 8, 8], [4, 4, 4]),
    ],
)
def test_by_hand(variant, others, z, z0_hat):
    trajectory = VARIANTS[variant](number(8.0), HALVES, settings(**others))
    assert [float(group[0]) for group in trajectory.z] == z
    assert [float(group[0]) for group in trajectory.z0_hat] == z0_hat


@pytest.mark.parametrize(
    ("variant", "z", "z0_hat"),
    [
        ("direct", [8, 5, 2.5], [4, 2.5, 1.25]),
        ("combine_z", [8, 6, 4], [4, 3, 2]),
        ("combine_z0", [8, 5, 3.25], [4, 3.25, 2.4375]),
        ("combine_both", [8, 6, 4.25], [4, 3.5, 2.8125]),
        ("refine_G", [8, 3, 0.25], [4, 1.5, 0.125]),
        ("refine_R", [8, 2.5, 0.125], [1.5, 0.125, -0.46875]),
        ("residual", [8, 6, 4], [4, 3, 2]),
        ("bridge", [8, 5, 2.875], [4, 2.5, 1.4375]),
        ("indi", [8, 5, 2.75], [4, 2.5, 1.375]),
        ("identity", [8, 7, 7], [4, 3.5, 3.5]),
        ("stop", [8, 8, 8], [4, 4, 4]),
    ],
)
def test_matching_by_hand(variant, z, z0_hat):
    """`match` subtracts 1 from whatever comes to R below T, and the loop goes on from that."""
    networks = HALVES._replace(match=lambda z, t: (z[0] - 1,))
    trajectory = VARIANTS[variant](number(8.0), networks, settings(match="moments"))
    assert [float(group[0]) for group in trajectory.z] == z
    assert [float(group[0]) for group in trajectory.z0_hat] == z0_hat


def random_latent(seed):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(B, *shape, generator=generator) for shape in SHAPES)


TRUE = [random_latent(s) for s in range(T + 1)]  # z_0 … z_T


def arbitrary():
    """Networks that are nothing special, and depend on all that they are given."""

    def R(z, t):
        return tuple(torch.tanh(z_i) * (1 + 0.1 * t) for z_i in z)

    def G(z0_hat, s, z_t):
        return tuple(torch.sin(z_i) * (1 + s) + 0.1 * anchor for z_i, anchor in zip(z0_hat, z_t, strict=True))

    return Networks(R, G, P=lambda z: tuple(0.9 * z_i + 0.01 for z_i in z))


def oracle_R(z, t):
    return TRUE[0]


def oracle_G(z0_hat, s, z_t):
    return TRUE[s]


def close(a, b):
    return all(torch.allclose(x, y, atol=1e-6) for x, y in zip(a, b, strict=True))


def same_trajectory(a, b):
    return all(
        close(x, y) for one, other in ((a.z, b.z), (a.z0_hat, b.z0_hat)) for x, y in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("T", [1, 2, 3])
def test_the_whole_trajectory_starts_at_z_T_and_never_degrades_to_level_0(variant, T):
    networks = arbitrary()

    def G(z0_hat, s, z_t):
        assert 1 <= s <= T
        return networks.G(z0_hat, s, z_t)

    trajectory = VARIANTS[variant](TRUE[T], networks._replace(G=G), settings(T=T))
    assert len(trajectory.z) == len(trajectory.z0_hat) == T
    assert close(trajectory.z[0], TRUE[T])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_perfect_restorer_ends_at_z_0(variant):
    trajectory = VARIANTS[variant](TRUE[T], arbitrary()._replace(R=oracle_R), settings())
    assert all(close(z0_hat, TRUE[0]) for z0_hat in trajectory.z0_hat)


@pytest.mark.parametrize("variant", ["refine_R", "refine_both"])
@pytest.mark.parametrize("K", [1, 2])
def test_a_restorer_that_leaves_clean_latents_ends_at_their_round_trip(variant, K):
    def R(z, t):  # true latents to z_0, what is close to z_0 stays
        return TRUE[0] if any(close(z, TRUE[s]) for s in range(1, T + 1)) else z

    P = arbitrary().P
    expected = TRUE[0]
    for _ in range(K):
        expected = P(expected)
    trajectory = VARIANTS[variant](TRUE[T], Networks(R, oracle_G, P), settings(K=K))
    assert close(trajectory.z0_hat[0], expected)


@pytest.mark.parametrize("variant", ["direct", "refine_R"])
def test_a_perfect_degrader_keeps_the_true_trajectory(variant):
    trajectory = VARIANTS[variant](TRUE[T], arbitrary()._replace(G=oracle_G), settings())
    assert all(close(z, TRUE[T - k]) for k, z in enumerate(trajectory.z))


@pytest.mark.parametrize("variant", COMBINATIONS)
@pytest.mark.parametrize("reference", ["previous", "first"])
def test_a_share_of_one_is_direct(variant, reference):
    chosen = settings(alpha=1.0, reference=reference)
    networks = arbitrary()
    expected = VARIANTS["direct"](TRUE[T], networks, chosen)
    assert same_trajectory(VARIANTS[variant](TRUE[T], networks, chosen), expected)


def test_a_share_of_zero_stays_where_it_is():
    networks, chosen = arbitrary(), settings(alpha=0.0)
    identity = VARIANTS["identity"](TRUE[T], networks, chosen)
    assert same_trajectory(VARIANTS["combine_z"](TRUE[T], networks, chosen), identity)
    stop = VARIANTS["stop"](TRUE[T], networks, chosen)
    combined = VARIANTS["combine_z0"](TRUE[T], networks, chosen)
    assert all(close(a, b) for a, b in zip(combined.z0_hat, stop.z0_hat, strict=True))


@pytest.mark.parametrize("variant", REFINEMENTS)
def test_no_refinement_is_direct(variant):
    networks = arbitrary()
    expected = VARIANTS["direct"](TRUE[T], networks, settings())
    assert same_trajectory(VARIANTS[variant](TRUE[T], networks, settings(K=0)), expected)


def test_the_residual_update_is_exact_where_haze_only_adds():
    haze = [random_latent(10 + s) for s in range(T + 1)]

    def G(z0_hat, s, z_t):
        return tuple(z + h for z, h in zip(z0_hat, haze[s], strict=True))

    trajectory = VARIANTS["residual"](G(TRUE[0], T, None), arbitrary()._replace(G=G), settings())
    assert all(close(z, G(TRUE[0], T - k, None)) for k, z in enumerate(trajectory.z))  # whatever R predicts


@pytest.mark.parametrize("variant", WITHOUT_G)
def test_controls_that_need_no_degrader_call_none(variant):
    networks = arbitrary()._replace(G=lambda *_: pytest.fail("called"))
    VARIANTS[variant](TRUE[T], networks, settings())


def test_refinements_of_R_may_tell_it_the_lowest_level():
    seen = []

    def R(z, t):
        seen.append(t)
        return z

    networks = arbitrary()._replace(R=R)
    VARIANTS["refine_R"](TRUE[T], networks, settings(refine_level="lowest"))
    assert seen == [3, 1, 2, 1, 1, 1]
    seen.clear()
    VARIANTS["refine_R"](TRUE[T], networks, settings())
    assert seen == [3, 3, 2, 2, 1, 1]


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_brought_to_the_moments_of_a_level_is_what_R_sees_there(variant):
    """For every way to iterate, without its refinements of R: those see no z_t."""
    networks, matched_at = arbitrary(), []

    def match(z, t):
        matched_at.append(t)
        return tuple(torch.full_like(group, float(t)) for group in z)

    def R(z, t):
        assert t == T or variant == "stop" or all(bool((group == t).all()) for group in z)
        return networks.R(z, t)

    K = 0 if variant in ("refine_R", "refine_both") else 1
    with_match = networks._replace(R=R, match=match)
    trajectory = VARIANTS[variant](TRUE[T], with_match, settings(K=K, match="moments"))
    assert close(trajectory.z[0], TRUE[T])
    assert set(matched_at) == (set() if variant == "stop" else {1, 2})
    assert variant == "stop" or float(trajectory.z[-1][0].mean()) == 1.0


def test_matching_needs_the_moments():
    with pytest.raises(ValueError, match="needs the moments"):
        VARIANTS["direct"](TRUE[T], arbitrary(), settings(match="moments"))


def test_the_InDI_step_follows_the_line_to_an_exact_prediction():
    schedule = settings().haze_alpha
    z_T = TRUE[T]
    trajectory = VARIANTS["indi"](z_T, arbitrary()._replace(R=oracle_R), settings())
    for k, z in enumerate(trajectory.z):  # Eq. 2 at every level, as the bridge has it
        expected = tuple((1 - schedule[T - k]) * a + schedule[T - k] * b for a, b in zip(TRUE[0], z_T, strict=True))
        assert close(z, expected)


def test_every_list_names_variants():
    assert {*COMBINATIONS, *REFINEMENTS, *WITHOUT_G} < set(VARIANTS)
