"""Many configurations of the loops at once: what their trajectories share is computed once.

A loop never looks at a latent, so it can be run on symbols first. Every operation on symbols gives a symbol, and an
equal operation on equal symbols gives the same one: the trajectories of all configurations then form a tree of
distinct prefixes, which is evaluated once. Nothing is evaluated that no trajectory needs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dehazing.inference import Networks, exchange, lerp, no_moments

Latent = tuple[Tensor, ...]
NETWORKS = ("R", "G", "P")


@dataclass(frozen=True, eq=False)
class Symbol:
    """A latent that is not computed yet: an operation, its arguments that are no latents, and its inputs."""

    operation: str  # z_T | R | G | P | lerp | exchange | match
    arguments: tuple[Hashable, ...] = ()
    inputs: tuple[Symbol, ...] = ()


class Operators(NamedTuple):
    """What the operations do to latents."""

    R: Callable[[Latent, int], Latent]
    G: Mapping[str, Callable[..., Latent]]  # of each degrader: (z0_hat, s) or (z0_hat, s, anchor)
    P: Callable[[Latent], Latent]
    match: Callable[..., Latent] = no_moments  # (z, t) or (z, t, z_T) → z with the moments of level t


class Sweep:
    """The symbols of all configurations that start at the same z_T."""

    def __init__(self) -> None:
        self._symbols: dict[tuple, Symbol] = {}
        self.z_T: Any = self._symbol("z_T")

    def networks(self, degrader: str = "", anchor: str = "none", match: str = "none") -> Networks:
        """R, G, P and the arithmetic on symbols, with the G that is called `degrader`.

        anchor: none | z_T | z_t, what that G sees beside z0_hat. What it does not see is no part of its symbol.
        match: one of `inference.MATCHES`; only `moments_of_field` sees z_T.
        """

        def R(z_t: Any, t: int) -> Any:
            return self._symbol("R", z_t, arguments=(t,))

        def G(z0_hat: Any, s: int, z_t: Any) -> Any:
            anchors = {"none": (), "z_T": (self.z_T,), "z_t": (z_t,)}[anchor]
            return self._symbol("G", z0_hat, *anchors, arguments=(degrader, s))

        def P(z: Any) -> Any:
            return self._symbol("P", z)

        def combined(start: Any, end: Any, weight: float) -> Any:
            ends = {0.0: start, 1.0: end}
            if start is end or weight in ends:  # then the other end need not be computed
                return ends.get(weight, start)
            return self._symbol("lerp", start, end, arguments=(float(weight),))

        def exchanged(z: Any, leaving: Any, entering: Any) -> Any:
            return self._symbol("exchange", z, leaving, entering)

        def matched(z: Any, t: int) -> Any:
            return self._symbol("match", z, *((self.z_T,) if match == "moments_of_field" else ()), arguments=(t,))

        return Networks(R, G, P, combined, exchanged, matched)

    def _symbol(self, operation: str, *inputs: Symbol, arguments: tuple[Hashable, ...] = ()) -> Symbol:
        key = (operation, arguments, inputs)  # symbols count by identity, which their own keys have made equality
        if key not in self._symbols:
            self._symbols[key] = Symbol(operation, arguments, inputs)
        return self._symbols[key]


def needed(wanted: Iterable[Symbol]) -> list[Symbol]:
    """The wanted symbols and all that they are made from, each once and after its inputs."""
    found: dict[Symbol, None] = {}
    waiting = list(wanted)[::-1]
    while waiting:
        missing = [symbol for symbol in waiting[-1].inputs if symbol not in found]
        if missing:
            waiting += missing
        else:
            found[waiting.pop()] = None
    return list(found)


def calls(wanted: Iterable[Symbol]) -> dict[str, int]:
    """How often each network is called for these symbols: {"R": …, "G": …, "P": …}."""
    counted = Counter(symbol.operation for symbol in needed(wanted))
    return {name: counted[name] for name in NETWORKS}


@torch.no_grad()
def evaluate(
    wanted: Sequence[Symbol],
    z_T: Latent,
    operators: Operators,
    visit: Callable[[dict[Symbol, Latent]], None],
    at_once: int = 1,
) -> Counter[str]:
    """Compute all that the wanted symbols need, once, and show each wanted one to `visit`; how often each was called.

    visit: takes some of the symbols with their latents. at_once: how many symbols may
    go through a network together. With 1 a latent does not depend on what else is wanted, to the bit, and the tree is
    walked along one trajectory after the other: no more latents are held than one trajectory has, and the siblings of
    its operations. With more, the walk is broad, so that many symbols wait for the same network, and what is held
    grows with the number of trajectories.
    """
    symbols = needed(wanted)
    is_wanted = set(wanted)
    consumers: dict[Symbol, list[Symbol]] = {symbol: [] for symbol in symbols}
    for symbol in symbols:
        for one in set(symbol.inputs):
            consumers[one].append(symbol)
    num_missing = {symbol: len(set(symbol.inputs)) for symbol in symbols}
    num_waiting = {symbol: len(after) for symbol, after in consumers.items()}
    values: dict[Symbol, Latent] = {}
    called: Counter[str] = Counter()
    ready = [symbol for symbol in symbols if not symbol.inputs]
    while ready:
        batch = _next(ready, at_once)
        first = batch[0]
        if first.operation == "z_T":
            result = z_T
        else:
            columns = zip(*(symbol.inputs for symbol in batch), strict=True)
            result = _apply(first, operators, [stacked([values[symbol] for symbol in column]) for column in columns])
            called[first.operation] += len(batch)
        for symbol, value in zip(batch, _split(result, len(batch)), strict=True):
            values[symbol] = value
        visit({symbol: values[symbol] for symbol in batch if symbol in is_wanted})
        for symbol in batch:
            for consumer in consumers[symbol]:
                num_missing[consumer] -= 1
                if not num_missing[consumer]:
                    ready.append(consumer)
            for one in set(symbol.inputs):
                num_waiting[one] -= 1
                if not num_waiting[one]:
                    del values[one]
            if not num_waiting[symbol]:
                del values[symbol]
    return called


def stacked(latents: Sequence[Latent]) -> Latent:
    """Several latents one after the other as one batch."""
    return latents[0] if len(latents) == 1 else tuple(torch.cat(groups) for groups in zip(*latents, strict=True))


def _next(ready: list[Symbol], at_once: int) -> list[Symbol]:
    """Takes out what is computed next: the latest, or the largest group of equal operations, arithmetic first."""
    if at_once == 1:
        return [ready.pop()]
    groups: dict[tuple, list[Symbol]] = {}
    for symbol in ready:
        groups.setdefault((symbol.operation, symbol.arguments, len(symbol.inputs)), []).append(symbol)
    batch = max(groups.values(), key=lambda group: (group[0].operation not in NETWORKS, len(group)))[:at_once]
    taken = set(batch)
    ready[:] = [symbol for symbol in ready if symbol not in taken]
    return batch


def _apply(symbol: Symbol, operators: Operators, inputs: list[Latent]) -> Latent:
    if symbol.operation == "G":
        name, s = symbol.arguments
        return operators.G[str(name)](inputs[0], s, *inputs[1:])
    if symbol.operation == "match":
        return operators.match(inputs[0], *symbol.arguments, *inputs[1:])
    operation: Any = {"R": operators.R, "P": operators.P, "lerp": lerp, "exchange": exchange}[symbol.operation]
    return operation(*inputs, *symbol.arguments)


def _split(latent: Latent, num: int) -> list[Latent]:
    return [latent] if num == 1 else list(zip(*(group.chunk(num) for group in latent), strict=True))
