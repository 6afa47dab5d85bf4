"""Attribution on pipelines whose errors are planted: it names the right module, level and band."""

import itertools

import pytest
import torch

from dehazing import attribution
from dehazing.attribution import Loop, Substitution, attributed
from dehazing.inference import VARIANTS, Settings
from dehazing.metrics.parts import error_parts

T, N, SIZE = 4, 3, 32
COLUMNS = {"whole": 0, "offset": 1, "low": 2, "high": 5}


def images(seed, num=1):
    return torch.randn(num, N, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def wave(period_px):
    """A wave that lies in one band, (1, 1, 1, SIZE)."""
    return torch.sin(2 * torch.pi * torch.arange(SIZE, dtype=torch.float64) / period_px)[None, None, None]


LOW, HIGH = 0.1 * wave(16), 0.1 * wave(2.2)
HAZE = images(1, T + 1).cumsum(0)
HAZE[0] = 0
CLEAN = images(0)[0]
TRUE = [(CLEAN + HAZE[t],) for t in range(T + 1)]


def series(planted=None, gain_R=1.0, gain_G=1.0):
    """R takes the true haze away and G adds it, so that errors pass through; planted: (module, level) → an error."""
    planted = planted or {}

    def R(z, t):
        return (CLEAN + gain_R * (z[0] - TRUE[t][0]) + planted.get(("R", t), 0),)

    def G(z, s, anchor):
        return (TRUE[s][0] + gain_G * (z[0] - CLEAN) + planted.get(("G", s), 0),)

    return R, G


def loop(planted=None, variant="direct", settings=None, **gains):
    R, G = series(planted, **gains)
    return Loop(variant, settings or Settings(T), R, G)


def measure(z):
    return error_parts(z[0] - CLEAN)


def found(planted=None, z_T=None, **settings):
    return attributed(Substitution(loop(planted, **settings), z_T or TRUE[-1], TRUE), measure)


def largest(shares, column):
    return max(shares, key=lambda player: float(shares[player][:, COLUMNS[column]].mean()))


@pytest.mark.parametrize("player", [*itertools.product("R", (4, 3, 2, 1)), *itertools.product("G", (3, 2, 1))])
@pytest.mark.parametrize(("band", "error"), [("low", LOW), ("high", HIGH), ("offset", 0.2)])
def test_a_planted_error_is_found_by_module_level_and_band(player, band, error):
    result = found({player: error})
    module, level = player
    whole = result.error[:, 0]
    assert torch.allclose(result.modules[module][:, 0], whole) and (whole > 0.004).all()
    assert all(share.abs().max() < 1e-12 for name, share in result.modules.items() if name != module)
    assert largest(result.steps, "whole") == (module, level)
    assert torch.allclose(result.steps[player][:, 0], whole)
    assert all(share.abs().max() < 1e-12 for other, share in result.steps.items() if other != player)
    parts = result.steps[player].mean(0)
    assert int(parts[1:].argmax()) + 1 == COLUMNS[band] and float(parts[COLUMNS[band]] / parts[0]) > 0.8
    assert result.rest.abs().max() < 1e-12


def test_an_oracle_G_gets_no_share_and_a_flawed_one_all_of_it():
    """That of the kind `truth`, which wipes out what came before it, gets none either: all of the rest is R's."""
    R, _ = series({("R", 1): LOW, ("R", 3): HIGH})
    oracle = Loop("direct", Settings(T), R, lambda z, s, anchor: TRUE[s])
    result = attributed(Substitution(oracle, TRUE[-1], TRUE), measure)
    assert float(result.modules["G"].abs().max()) < 1e-12
    assert torch.allclose(result.modules["R"], result.error)
    assert largest(result.steps, "whole") == ("R", 1), "what R does wrong at level 3 is wiped out"
    assert torch.allclose(result.steps["R", 1], result.error)


def test_why_shares_are_of_modules_without_their_own_error():
    """With oracles that give the truth, R would be given half of what G alone does wrong."""
    result = found({("G", 2): LOW})
    worth = {chosen: result.error - left for chosen, left in result.repaired.items()}
    sets = {name: frozenset(name) for name in ("R", "G", "RG")}
    share_of_R = (worth[sets["R"]] + worth[sets["RG"]] - worth[sets["G"]]) / 2
    assert torch.allclose(share_of_R, result.error / 2)
    assert result.modules["R"].abs().max() < 1e-12
    assert result.repaired[sets["R"]].abs().max() == 0 and result.repaired[sets["G"]].abs().max() == 0


def test_two_errors_are_shared_as_worked_out_by_hand():
    """‖a + b‖² is shared as ‖a‖² + a·b and ‖b‖² + a·b: the errors are 0.3 and 0.1 everywhere."""
    result = found({("R", 3): 0.3, ("G", 1): 0.1})
    assert result.error[0, 0].item() == pytest.approx(0.16)
    assert result.modules["R"][0, 0].item() == pytest.approx(0.12)
    assert result.modules["G"][0, 0].item() == pytest.approx(0.04)
    assert result.left[frozenset("R")][0, 0].item() == pytest.approx(0.01)
    assert result.left[frozenset("G")][0, 0].item() == pytest.approx(0.09)
    assert result.repaired_steps["R", 3][0, 0].item() == pytest.approx(0.01)
    assert result.repaired_steps["G", 1][0, 0].item() == pytest.approx(0, abs=1e-12)
    assert result.repaired_steps["R", 4][0, 0].item() == pytest.approx(0.16)


def test_an_error_counts_as_what_is_left_of_it_at_the_end():
    """R halves what comes in, so an error of R at level 3 counts a quarter at the end, where it is not cancelled."""
    result = found({("R", 3): 0.8}, gain_R=0.5)
    assert result.error[0, 0].item() == pytest.approx(0.2**2)
    assert result.steps["R", 3][0, 0].item() == pytest.approx(0.2**2)


def test_what_the_encoder_makes_of_noise_is_its_share_and_without_a_truth_it_has_none():
    result = found({("R", 2): HIGH}, z_T=(TRUE[-1][0] + LOW,))
    assert list(result.modules) == ["E", "R", "G"]
    assert torch.allclose(result.modules["E"].sum(), error_parts(LOW.expand(N, 1, SIZE, SIZE)).sum(), rtol=1e-3)
    assert largest(result.steps, "low") == ("E", T) and largest(result.steps, "high") == ("R", 2)
    assert found({("R", 2): HIGH}).modules["E"].abs().max() == 0


@pytest.mark.parametrize("variant", ["direct", "combine_z", "combine_z0", "combine_both", "residual", "bridge", "indi"])
def test_shares_sum_to_the_whole_however_little_linear_the_loop_is(variant):
    def R(z, t):
        return (torch.tanh(z[0] - 0.3 * HAZE[t]) + 0.1 * z[0].square(),)

    def G(z, s, anchor):
        return (z[0] + 0.8 * HAZE[s] + 0.2 * torch.sin(3 * z[0]),)

    settings = Settings(T, [0.6] * (T + 1), haze_alpha=[0.0, 0.2, 0.4, 0.7, 1.0])
    one = Loop(variant, settings, R, G)
    result = attributed(Substitution(one, (TRUE[-1][0] + LOW,), TRUE), measure)
    for shares in (result.modules, result.steps):
        assert torch.allclose(sum(shares.values()), result.error - result.rest, atol=1e-9)
    has_rest = bool((result.rest[:, 0] > 1e-6).all())
    assert has_rest == (variant not in ("direct", "residual", "combine_z0")), (
        "the arithmetic of the loop is no module's"
    )
    assert ("G" in result.modules) == (variant not in ("bridge", "indi"))


def test_without_oracles_the_run_is_the_loop_itself():
    one = loop({("R", 2): HIGH}, gain_R=0.9, gain_G=1.1)
    run = Substitution(one, (TRUE[-1][0] + LOW,), TRUE).run()
    from dehazing.inference import Networks

    plain = VARIANTS["direct"](
        (TRUE[-1][0] + LOW,), Networks(one.R, lambda z, s, z_t: one.G(z, s, None), lambda z: z), one.settings
    )
    for ours, theirs in zip((*run.z, *run.z0_hat), (*plain.z, *plain.z0_hat), strict=True):
        assert torch.equal(ours[0], theirs[0])


@pytest.mark.parametrize("anchor", ["z_t", "z_T"])
def test_an_anchored_G_is_judged_by_what_it_gives_at_the_true_anchor(anchor):
    """G copies a fifth of what its anchor is off; that is passed on, and not its own error."""
    R, _ = series({("R", 4): LOW})

    def G(z, s, anchor_):
        true = TRUE[-1] if anchor == "z_T" else TRUE[min(s + 1, T)]
        return (TRUE[s][0] + (z[0] - CLEAN) + 0.2 * (anchor_[0] - true[0]),)

    result = attributed(Substitution(Loop("direct", Settings(T), R, G, anchor), (TRUE[-1][0] + LOW,), TRUE), measure)
    assert result.modules["G"].abs().max() < 1e-12 and result.rest.abs().max() < 1e-12
    assert (result.modules["E"][:, 0] > 0).all() and (result.modules["R"][:, 0] > 0).all()
    assert {player for player, share in result.steps.items() if share[:, 0].abs().max() > 1e-12} == {("E", 4), ("R", 4)}


def test_what_runs_share_is_computed_once():
    called = []
    R, G = series({("R", 2): HIGH})

    def counted(name, network):
        def call(z, level, *anchor):
            called.append((name, level, id(z)))
            held.append(z)
            return network(z, level, *anchor)

        return call

    held, measured = [], []
    one = Loop("direct", Settings(T), counted("R", R), counted("G", G))
    substitution = Substitution(one, TRUE[-1], TRUE)
    attributed(substitution, lambda z: measured.append(id(z)) or measure(z))
    assert len(called) == len(set(called)) and len(measured) == len(set(measured))
    # without an oracle: T of R and T - 1 of G; on true inputs the same; in order and against it each suffix once more
    assert len(called) < 12 * T * T
    num = len(called)
    substitution.run()
    assert len(called) == num


def test_a_refinement_is_refused():
    with pytest.raises(ValueError, match="calls R on z_t alone, but 'refine_R' calls it on P"):
        Substitution(loop(variant="refine_R"), TRUE[-1], TRUE)
    assert attribution.MODULES == ("E", "R", "G")


def test_the_parts_of_an_error_add_up_and_are_those_of_the_image():
    difference = images(5)[0][:, 0]
    smooth = torch.nn.functional.avg_pool2d(difference, 5, 1, 2)
    parts = error_parts(smooth + 0.7)
    assert torch.allclose(parts[:, 0], (smooth + 0.7).square().mean((1, 2)))
    assert torch.allclose(parts[:, 1], (smooth.mean((1, 2)) + 0.7) ** 2)
    assert torch.allclose(parts[:, 1:].sum(1), parts[:, 0], rtol=0.1)
    flat = error_parts(LOW[0].expand(N, SIZE, SIZE))
    assert float(flat[0, 2]) == pytest.approx(0.1**2 / 2, rel=1e-2) and float(flat[0, 3:].sum()) < 1e-5
