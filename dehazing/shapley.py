"""Shares of players in what a coalition is worth: Shapley values, exact, or by a rule that many players can afford.

A game gives every coalition of players, a frozenset, a tensor (…); the shares are tensors of the same shape. In both
rules they sum to what all players together add to the worth of none (efficiency).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from itertools import combinations
from math import comb
from typing import TypeVar

from torch import Tensor

Player = TypeVar("Player", bound=Hashable)
Game = Callable[[frozenset[Player]], Tensor]
MOST = 12  # players whose coalitions are all looked at


def shapley(players: Sequence[Player], game: Game) -> dict[Player, Tensor]:
    """Exact Shapley values: what a player adds to the others, averaged over all orders in which they may come.

    Every one of the 2^n coalitions is asked for once. ValueError for more than MOST players.
    """
    n = len(players)
    if n > MOST:
        raise ValueError(f"Exact Shapley values are for at most {MOST} players, but there are {n}: take `both_ways`.")
    coalitions = [frozenset(chosen) for size in range(n + 1) for chosen in combinations(players, size)]
    worth = {coalition: game(coalition) for coalition in coalitions}
    shares = {}
    for player in players:
        without = [coalition for coalition in coalitions if player not in coalition]
        added = ((worth[one | {player}] - worth[one]) / (n * comb(n - 1, len(one))) for one in without)
        shares[player] = sum(added, start=0 * worth[frozenset()])
    return shares


def both_ways(players: Sequence[Player], game: Game) -> dict[Player, Tensor]:
    """What each player adds when they come in the given order, and in the reverse one, averaged: 2n coalitions.

    These are the exact Shapley values where the worth has no interactions but between pairs: each pair's is halved, as
    one of the two orders gives it to one of them and the other to the other. A square error is such a worth where
    the players' errors add up at the end.
    """
    forwards, backwards = _added(players, game), _added(players[::-1], game)
    return {player: (forwards[player] + backwards[player]) / 2 for player in players}


def _added(players: Sequence[Player], game: Game) -> dict[Player, Tensor]:
    there: frozenset[Player] = frozenset()
    before, added = game(there), {}
    for player in players:
        there |= {player}
        now = game(there)
        added[player], before = now - before, now
    return added
