"""Gains, drift and distances from the manifold on loops whose answers are worked out by hand."""

import math

import pytest
import torch

from dehazing.attribution import Loop, Substitution
from dehazing.error_growth import amplification, growth, perturbed, random_directions
from dehazing.inference import Settings

T, N = 3, 2
TRUE = [
    tuple(torch.randn(N, c, 8 // c, 8, generator=torch.Generator().manual_seed(t)) for c in (1, 2))
    for t in range(T + 1)
]


def plus(z, number):
    return tuple(group + number for group in z)


def R(z, t):
    """Exact on the true latents, and three times the error of any other; at t = 2 it is 0.5 off by itself."""
    return tuple(a + 3 * (b - c) + 0.5 * (t == 2) for a, b, c in zip(TRUE[0], z, TRUE[t], strict=True))


def G(z, s, anchor):
    """A fifth of what is off beside z."""
    return tuple(a + 0.2 * (b - c) for a, b, c in zip(TRUE[s], z, TRUE[0], strict=True))


def measured(z_T=None, variant="direct"):
    settings = Settings(T, haze_alpha=[0.0, 0.3, 0.6, 1.0])
    substitution = Substitution(Loop(variant, settings, R, G), z_T or TRUE[T], TRUE)

    def error(z):
        return torch.stack([(a - b).flatten(1).square().mean(1) for a, b in zip(z, TRUE[0], strict=True)]).mean(0)

    def directions(t):
        return random_directions(TRUE[t], [t, t + 100])

    return growth(substitution, lambda z: plus(z, 0.25), error, directions, size=0.01)


def test_gains_are_those_of_the_networks_in_any_direction():
    found = measured(plus(TRUE[T], 0.1))
    for t, columns in found.items():
        for name in ("random", "error"):
            assert torch.allclose(columns[f"gain_R_{name}"], torch.full((N,), 3.0, dtype=torch.float64), rtol=1e-3)
            if t > 1:
                assert columns[f"gain_step_{name}"].tolist() == pytest.approx([0.6] * N, rel=1e-3)
    assert [*found] == [3, 2, 1] and "gain_step_random" not in found[1]


def test_free_running_errors_are_what_comes_in_and_what_is_added():
    found = measured(plus(TRUE[T], 0.1))
    # z is 0.1 off at 3, z0_hat 0.3; z 0.06 at 2, z0_hat 0.18 + 0.5; z 0.136 at 1, z0_hat 0.408
    for t, free, forced in ((3, 0.3, 0), (2, 0.68, 0.5), (1, 0.408, 0)):
        assert found[t]["free"].tolist() == pytest.approx([free**2] * N, rel=1e-4)
        assert found[t]["forced"].tolist() == pytest.approx([forced**2] * N, abs=1e-9)
    norm = torch.cat([group.flatten(1) for group in TRUE[T]], 1).norm(dim=1)
    num = sum(group[0].numel() for group in TRUE[T])
    assert torch.allclose(found[3]["drift_free"], (0.1 * math.sqrt(num) / norm).double(), rtol=1e-5)
    assert torch.allclose(found[3]["manifold_true"], (0.25 * math.sqrt(num) / norm).double(), rtol=1e-5)


def test_without_an_error_there_is_no_direction_of_it_and_without_a_G_no_step():
    found = measured()
    assert found[3]["gain_R_error"].isnan().all() and found[3]["gain_R_random"].isfinite().all()
    assert found[1]["gain_R_error"].isfinite().all(), "R has erred at level 2"
    assert not [name for name in measured(variant="bridge")[3] if name.startswith("gain_step")]


def test_a_perturbation_has_the_size_that_is_asked_for_over_all_groups():
    moved = perturbed(TRUE[0], TRUE[1], 0.05)
    apart = torch.cat([(a - b).flatten(1) for a, b in zip(moved, TRUE[0], strict=True)], 1).norm(dim=1)
    norm = torch.cat([group.flatten(1) for group in TRUE[0]], 1).norm(dim=1)
    assert torch.allclose(apart, 0.05 * norm, rtol=1e-4)
    assert amplification((TRUE[0], moved), (plus(TRUE[0], 0), moved)).tolist() == pytest.approx([1.0] * N)


def test_a_fields_random_direction_is_its_own():
    both, second = random_directions(TRUE[0], [1, 2]), random_directions(tuple(g[:1] for g in TRUE[0]), [2])
    assert all(torch.equal(a[1:], b) for a, b in zip(both, second, strict=True))
    assert not torch.equal(both[0][0], both[0][1])
