"""Shares against games whose Shapley values are known, worked out by hand."""

import itertools

import pytest
import torch

from dehazing.shapley import MOST, both_ways, shapley


def game(worth):
    return lambda coalition: torch.tensor(worth["".join(sorted(coalition))], dtype=torch.float64)


def test_two_players_halve_what_they_add_together():
    shares = shapley("ab", game({"": 1.0, "a": 4.0, "b": 3.0, "ab": 10.0}))
    # alone they add 3 and 2, to the other 7 and 6
    assert (float(shares["a"]), float(shares["b"])) == ((3 + 7) / 2, (2 + 6) / 2)


def test_the_gloves_of_three_players():
    # a has a left glove, b and c a right one each; a pair is worth 1: 2/3, 1/6, 1/6 as every textbook has it
    worth = {"": 0, "a": 0, "b": 0, "c": 0, "ab": 1, "ac": 1, "bc": 0, "abc": 1}
    shares = shapley("abc", game({k: float(v) for k, v in worth.items()}))
    assert [float(shares[p]) for p in "abc"] == pytest.approx([2 / 3, 1 / 6, 1 / 6])


def test_the_airport_of_three_players():
    # a runway of 8, 11 or 18: the first stretch is everybody's, the next that of two, the last of one
    def cost(coalition):
        return torch.tensor(float(max(({"a": 8, "b": 11, "c": 18}[p] for p in coalition), default=0)))

    shares = shapley("abc", cost)
    assert [float(shares[p]) for p in "abc"] == pytest.approx([8 / 3, 8 / 3 + 3 / 2, 8 / 3 + 3 / 2 + 7])


def test_shares_are_the_mean_over_all_orders_and_sum_to_the_whole_entry_by_entry():
    generator = torch.Generator().manual_seed(0)
    players = [("R", 2), ("G", 1), ("R", 1), "E"]
    worth = {
        frozenset(chosen): torch.randn(3, 2, generator=generator, dtype=torch.float64)
        for size in range(5)
        for chosen in itertools.combinations(players, size)
    }
    shares = shapley(players, worth.__getitem__)
    for player in players:
        added = []
        for order in itertools.permutations(players):
            before = frozenset(order[: order.index(player)])
            added.append(worth[before | {player}] - worth[before])
        assert torch.allclose(shares[player], torch.stack(added).mean(0))
    whole = worth[frozenset(players)] - worth[frozenset()]
    for rule in (shapley, both_ways):
        assert torch.allclose(sum(rule(players, worth.__getitem__).values()), whole)


def test_both_ways_is_exact_where_no_more_than_two_interact_and_costs_two_runs_a_player():
    generator = torch.Generator().manual_seed(1)
    errors = {player: torch.randn(7, generator=generator, dtype=torch.float64) for player in "abcdef"}
    asked = set()

    def left(coalition):
        asked.add(coalition)
        rest = [error for player, error in errors.items() if player not in coalition]
        return sum(rest, start=torch.zeros(7, dtype=torch.float64)).square().sum()

    cheap = both_ways("abcdef", left)
    assert len(asked) == 2 * 6
    exact = shapley("abcdef", left)
    assert all(torch.allclose(cheap[player], exact[player]) for player in "abcdef")
    # worked out: what is left is ‖Σ e‖², so a player takes away its own error along the sum of all
    total = sum(errors.values())
    assert all(float(exact[p]) == pytest.approx(-float(errors[p] @ total)) for p in "abcdef")


def test_interactions_of_three_are_not_shared_exactly_both_ways():
    def worth(coalition):
        return torch.tensor(float(len(coalition) == 3))

    assert [float(one) for one in both_ways("abc", worth).values()] == [0.5, 0.0, 0.5]
    assert [float(one) for one in shapley("abc", worth).values()] == pytest.approx([1 / 3] * 3)


def test_too_many_players_are_refused():
    with pytest.raises(ValueError, match="at most 12 players, but there are 13"):
        shapley(range(MOST + 1), lambda coalition: torch.zeros(()))
