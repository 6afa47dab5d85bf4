"""Configurations that share their prefixes give what each gives alone, and no network is called twice for the same."""

import gc
import weakref
from dataclasses import replace

import pytest
import torch

from benchmarks import sweep as benchmark
from benchmarks.prefixes import distinct_calls
from dehazing.inference import COMBINATIONS, MATCHES, REFINEMENTS, VARIANTS, WITHOUT_G, Networks, Settings
from dehazing.schedules import combine_alpha
from dehazing.sweep import NETWORKS, Operators, Sweep, calls, evaluate

T = 4
HAZE_ALPHA = [0.0, 0.2, 0.5, 0.8, 1.0]
SHAPES = ((2, 8, 8), (3, 4, 4))
DEGRADERS = {"blind": "none", "on z_T": "z_T", "on z_t": "z_t"}


def settings(alpha=(), K=0, reference="previous", refine_level="same", match="none"):
    return Settings(T, list(alpha), K, HAZE_ALPHA, reference, refine_level, match)


SCHEDULES = [
    combine_alpha({"kind": kind, **parameters}, T, direction).tolist()
    for kind, parameters in [("linear", {}), ("sigmoid", {"midpoint": 0.3}), ("constant", {"value": 0.4})]
    for direction in ("rising", "falling")
]
SETTINGS = {
    **{v: [settings(a, reference=r) for a in SCHEDULES for r in ("previous", "first")] for v in COMBINATIONS},
    **{v: [settings(K=k, refine_level=level) for k in (0, 1, 3) for level in ("same", "lowest")] for v in REFINEMENTS},
}
CONFIGURATIONS = [
    (variant, degrader, chosen)
    for variant in VARIANTS
    for degrader in (DEGRADERS if variant not in WITHOUT_G else ["blind"])
    for unmatched in SETTINGS.get(variant, [settings()])
    for chosen in (replace(unmatched, match=match) for match in MATCHES)
]


def R(z, t):
    return tuple(torch.tanh(z_i) * (1 + 0.1 * t) for z_i in z)


def G_of(factor):
    def G(z0_hat, s, *anchors):
        seen = anchors[0] if anchors else z0_hat
        return tuple(torch.sin(z_i) * (factor + s) + 0.1 * z_t for z_i, z_t in zip(z0_hat, seen, strict=True))

    return G


def P(z):
    return tuple(0.9 * z_i + 0.01 for z_i in z)


def match(z, t, z_T=None):
    return tuple(
        (z_i - z_i.mean((2, 3), keepdim=True)) * (1 - 0.1 * t) + (0 if z_T is None else own.mean((2, 3), keepdim=True))
        for z_i, own in zip(z, z_T or z, strict=True)
    )


OPERATORS = Operators(R, {name: G_of(factor) for factor, name in enumerate(DEGRADERS)}, P, match)


def z_T():
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(3, *shape, generator=generator) for shape in SHAPES)


def trajectories_of(sweep, configurations):
    return [
        VARIANTS[variant](sweep.z_T, sweep.networks(degrader, DEGRADERS[degrader], chosen.match), chosen)
        for variant, degrader, chosen in configurations
    ]


def symbols(trajectories):
    return list(dict.fromkeys(s for trajectory in trajectories for part in trajectory for s in part))


def evaluated(configurations, at_once=1, operators=OPERATORS):
    """(z, z0_hat) of every configuration, and how often each network was called."""
    sweep = Sweep()
    trajectories = trajectories_of(sweep, configurations)
    latents = {}
    called = evaluate(symbols(trajectories), z_T(), operators, latents.update, at_once)
    return [[[latents[s] for s in part] for part in trajectory] for trajectory in trajectories], called


def equal(some, others, same=torch.equal):
    return all(
        same(a, b)
        for parts in zip(some, others, strict=True)
        for latents in zip(*parts, strict=True)
        for a, b in zip(*latents, strict=True)
    )


def by_the_loop(variant, degrader, chosen):
    """The loop on tensors, as the variant is written."""
    start, anchor = z_T(), DEGRADERS[degrader]

    def G(z0_hat, s, z_t):
        return OPERATORS.G[degrader](z0_hat, s, *{"none": (), "z_T": (start,), "z_t": (z_t,)}[anchor])

    def matching(z, t):
        return match(z, t, start if chosen.match == "moments_of_field" else None)

    return VARIANTS[variant](start, Networks(R, G, P, match=matching), chosen)


def test_every_trajectory_is_that_of_the_loop_alone_to_the_bit():
    together, _ = evaluated(CONFIGURATIONS)
    for configuration, trajectory in zip(CONFIGURATIONS, together, strict=True):
        assert equal(by_the_loop(*configuration), trajectory), configuration
        ((alone,), _) = evaluated([configuration])
        assert equal(alone, trajectory), configuration


def test_latents_that_go_through_a_network_together_give_the_same():
    one_by_one, called_alone = evaluated(CONFIGURATIONS)
    together, called = evaluated(CONFIGURATIONS, at_once=7)
    assert called == called_alone
    for a, b in zip(one_by_one, together, strict=True):
        assert equal(a, b, lambda x, y: torch.allclose(x, y, atol=1e-6))


def distinct(configurations):
    return distinct_calls((v, degrader, DEGRADERS[degrader], chosen) for v, degrader, chosen in configurations)


@pytest.mark.parametrize("configurations", [CONFIGURATIONS, CONFIGURATIONS[:1], CONFIGURATIONS[7::5]])
def test_the_networks_are_called_once_for_every_distinct_prefix(configurations):
    called = dict.fromkeys(NETWORKS, 0)

    def counted(name, network):
        def call(*inputs):
            called[name] += 1
            return network(*inputs)

        return call

    G = {name: counted("G", G) for name, G in OPERATORS.G.items()}
    operators = Operators(counted("R", R), G, counted("P", P), match)
    _, reported = evaluated(configurations, operators=operators)
    assert called == {name: reported[name] for name in NETWORKS} == distinct(configurations)
    assert called == calls(symbols(trajectories_of(Sweep(), configurations)))


def test_what_no_trajectory_needs_is_not_computed():
    stay = [("combine_z", "blind", settings([0.0] * (T + 1)))]  # leaves each z where it is
    assert distinct(stay)["G"] == 0
    assert evaluated(stay)[1]["G"] == 0


def test_matched_trajectories_share_the_way_to_where_they_part_and_what_they_stand_at():
    matched = [("direct", "blind", settings()), ("direct", "blind", settings(match="moments"))]
    assert distinct(matched) == calls(symbols(trajectories_of(Sweep(), matched)))
    assert distinct(matched)["R"] == 2 * T - 1, "the first step is one"
    assert distinct(matched)["G"] == 2 * (T - 1) - 1, "so is what G makes of it"
    both = [("direct", "blind", settings(match=match)) for match in ("moments", "moments_of_field")]
    assert distinct(both) == distinct(matched), "one kind of matching is not the other"
    some = [(variant, "blind", settings(match="moments")) for variant in ("direct", "refine_G", "refine_R")]
    assert distinct(some) == distinct(some[:1]), "without refinements all three are one"


def test_a_blind_degrader_shares_what_an_anchored_one_does_not():
    def num_calls(degrader):  # to level 1, from one prediction that was made at three different z_t
        sweep = Sweep()
        networks = sweep.networks(degrader, DEGRADERS[degrader])
        z0_hat = networks.R(sweep.z_T, T)
        return calls([networks.G(z0_hat, 1, networks.G(z0_hat, s, sweep.z_T)) for s in (1, 2, 3)])["G"]

    assert (num_calls("blind"), num_calls("on z_T"), num_calls("on z_t")) == (1, 1, 6)


def test_no_more_latents_are_held_than_one_trajectory_has():
    def most_held(configurations):
        alive, most = weakref.WeakSet(), 0

        def watched(network):
            def call(*inputs):
                nonlocal most
                result = network(*inputs)
                alive.add(result[0])
                gc.collect(0)
                most = max(most, len(alive))
                return result

            return call

        sweep = Sweep()
        wanted = symbols(trajectories_of(sweep, configurations))
        G = {name: watched(G) for name, G in OPERATORS.G.items()}
        operators = Operators(watched(R), G, watched(P), match)
        evaluate(wanted, z_T(), operators, lambda latents: None)
        return most

    many = [("combine_both", "blind", settings([k / 40] * (T + 1))) for k in range(1, 40)]
    assert most_held(many) <= most_held(many[:1]) + T
    assert most_held(CONFIGURATIONS) <= 3 * T


@pytest.mark.slow
def test_the_benchmark_finds_as_many_calls_as_prefixes_and_the_same_numbers(tmp_path):
    small = {"field_px": 64, "pad_px": 16, "dz_um": 1.0, "depth_um": 3.0}
    fields = {"train": 2, "validation": 2, "test": 1}
    record = benchmark.compare(tmp_path, num=12, num_alone=3, num_blocks=2, num_fields=fields, **small)
    assert record["calls"] == record["distinct_prefixes"] and record["calls"]["R"] > 12
    assert set(record["largest_difference_db"].values()) == {0.0}
    assert f"{record['ratio']['all kept']:.1f} times as fast" in benchmark.report(record)
