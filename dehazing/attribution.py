"""Through which module the error of a loop enters, and at which level: each is replaced by its oracle.

The error is that of the loop's end above the ceiling Dec(E(x_0)), which is what the end would be if nothing went
wrong; what the ceiling itself misses is no module's, and is told apart. A module's oracle knows the true latents
E(x_t), of noise-free images where they are known. There are two kinds, for they answer different questions.

`own`: where does the error *enter*? The module without its own error: on the true input it gives the true output, and
how far its input is off, it passes on as the module does.

    R*(z, t) = E(x_0) + R(z, t) - R(E(x_t), t)          G*(z, s) = E(x_s) + G(z, s) - G(E(x_0), s)

Errors that others made still pass through it, and are not forgiven. Of this kind are the shares.

`truth`: what would a *repair* be worth? The module gives the truth whatever it is handed: R is E(x_0), G is the true
next latent E(x_s). It wipes out what came before. So shares of this kind name the wrong one: R is the last one to be
called, with this oracle for it the loop ends on the ceiling whatever else happens, and so R's share is never below a
half, were it flawless and all the error G's. What is left of the error is therefore shown, but never shared out.

E's oracle is the same in both kinds, as E is handed images and not latents: E of the noise-free x_T, so that its
share is what the noise of the acquired frame costs. Where no noise-free images are known, as in a real series, E is
its own oracle and its share is 0; the noise in the frames that stand for the truth is then blamed on R and G.

A module's share of the whole loop is its exact Shapley value among E, R and G (8 loops). Those of a module at a level
are of 2T players, whose 2^2T coalitions nobody can run: they follow `shapley.both_ways`, in the order of the loop and
against it, which is exact where errors propagate linearly. Both sum to the whole; that the sum over levels is a
little another than the module's share is what is not linear.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import combinations
from typing import Any, NamedTuple

from torch import Tensor

from dehazing.inference import REFINEMENTS, VARIANTS, Networks, Settings, Trajectory, exchange, lerp, no_moments
from dehazing.shapley import both_ways, shapley

Latent = tuple[Tensor, ...]
Player = tuple[str, int]  # a module at a level: E at T, R from level t, G to level s
Players = frozenset[Player]
MODULES = ("E", "R", "G")
KINDS = ("own", "truth")


class Loop(NamedTuple):
    """A way to iterate and the frozen operators that it calls, on a batch of latents.

    variant: of `inference.VARIANTS`, but for the refinements: they call R on P(z0_hat), for which there is no true z_t.
    """

    variant: str
    settings: Settings
    R: Callable[[Latent, int], Latent]  # (z_t, t) → z0_hat
    G: Callable[[Latent, int, Latent | None], Latent]  # (z0_hat, s, what it is anchored on) → z_s
    anchor: str = "none"  # what G sees beside z0_hat: none | z_T | z_t
    match: Callable[[Latent, int, Latent], Latent] | None = None  # (z, t, z_T) → z with the moments of level t


class Attribution(NamedTuple):
    """Errors of the loop's end above the ceiling, and who they enter through; tensors as `measure` gives them.

    error: of the loop as it is. rest: what no oracle takes away, as the loop's own arithmetic makes it (a combination's
    weights); error - rest is what is shared out. modules: E, R, G → its share. steps: module and level → its share.
    left: oracles of the kind `own` in place → the error that is left; repaired: the same of the kind `truth`.
    repaired_steps: the error that is left where one module gives the truth, at one level only.
    """

    error: Tensor
    rest: Tensor
    modules: dict[str, Tensor]
    steps: dict[Player, Tensor]
    left: dict[frozenset[str], Tensor]
    repaired: dict[frozenset[str], Tensor]
    repaired_steps: dict[Player, Tensor]


class Substitution:
    """Runs of one loop on the same fields with oracles in place; what two runs share is computed once.

    z_T: what E makes of the acquired x_T. true: E(x_t) of t = 0 … T, N fields each. ValueError for a refinement.
    """

    def __init__(self, loop: Loop, z_T: Latent, true: list[Latent]):
        if loop.variant in REFINEMENTS:
            raise ValueError(
                f"Attribution needs a loop that calls R on z_t alone, but {loop.variant!r} calls it on P(z0_hat) too."
            )
        self.loop, self.z_T, self.true = loop, z_T, true
        self.players = self._players()
        self._made: dict[tuple[Hashable, ...], tuple[tuple[Latent, ...], Latent]] = {}

    def run(self, replaced: Players = frozenset(), kind: str = "own") -> Trajectory:
        """The trajectory with oracles of this kind at these modules and levels. Equal runs give the same tensors."""
        loop = self.loop
        z_T = self.true[-1] if ("E", loop.settings.T) in replaced else self.z_T

        def R(z_t: Latent, t: int) -> Latent:
            if ("R", t) not in replaced:
                return self._R(z_t, t)
            if kind == "truth" or z_t is self.true[t]:
                return self.true[0]
            return self._once("exchange", (self._R(z_t, t), self._R(self.true[t], t), self.true[0]), exchange)

        def G(z0_hat: Latent, s: int, z_t: Latent) -> Latent:
            anchor, true_anchor = {
                "none": (None, None),
                "z_T": (z_T, self.true[-1]),
                "z_t": (z_t, self.true[min(s + 1, loop.settings.T)]),
            }[loop.anchor]
            if ("G", s) not in replaced:
                return self._G(z0_hat, s, anchor)
            if kind == "truth" or (z0_hat is self.true[0] and anchor is true_anchor):
                return self.true[s]
            own = self._G(self.true[0], s, true_anchor)
            return self._once("exchange", (self._G(z0_hat, s, anchor), own, self.true[s]), exchange)

        def combined(start: Latent, end: Latent, weight: float) -> Latent:
            ends = {0.0: start, 1.0: end}
            if start is end or weight in ends:
                return ends.get(weight, start)
            return self._once(("lerp", weight), (start, end), lambda a, b: lerp(a, b, weight))

        def exchanged(z: Latent, leaving: Latent, entering: Latent) -> Latent:
            return self._once("exchange", (z, leaving, entering), exchange)

        def matched(z: Latent, t: int) -> Latent:
            match = loop.match or no_moments
            return self._once(("match", t), (z, z_T), lambda z, z_T: match(z, t, z_T))  # type: ignore[call-arg]

        networks = Networks(R, G, _no_projection, combined, exchanged, matched)
        return VARIANTS[loop.variant](z_T, networks, loop.settings)

    def whole(self, modules: frozenset[str]) -> Players:
        """These modules at all levels."""
        return frozenset(player for player in self.players if player[0] in modules)

    def _players(self) -> list[Player]:
        """Every module at every level that the loop calls it for, in the order of its first calls."""
        found: dict[Player, None] = {("E", self.loop.settings.T): None}

        def R(z: Any, t: int) -> Any:
            return found.setdefault(("R", t))

        def G(z: Any, s: int, z_t: Any) -> Any:
            return found.setdefault(("G", s))

        def nothing(*_: Any) -> Any:
            return None

        networks = Networks(R, G, _no_projection, nothing, nothing, nothing)
        VARIANTS[self.loop.variant](None, networks, self.loop.settings)  # type: ignore[arg-type]
        return list(found)

    def _R(self, z_t: Latent, t: int) -> Latent:
        return self._once(("R", t), (z_t,), lambda z: self.loop.R(z, t))

    def _G(self, z0_hat: Latent, s: int, anchor: Latent | None) -> Latent:
        if anchor is None:
            return self._once(("G", s), (z0_hat,), lambda z: self.loop.G(z, s, None))
        return self._once(("G", s), (z0_hat, anchor), lambda z, anchor: self.loop.G(z, s, anchor))

    def _once(self, what: Hashable, inputs: tuple[Latent, ...], make: Callable[..., Latent]) -> Latent:
        """What `make` gives of the inputs, which count by identity and are held so that it stays theirs."""
        key = (what, *map(id, inputs))
        if key not in self._made:
            self._made[key] = (inputs, make(*inputs))
        return self._made[key][1]


def attributed(substitution: Substitution, measure: Callable[[Latent], Tensor]) -> Attribution:
    """Runs the loop with the oracles of all modules in all combinations, and of each at each level.

    measure: the loop's end z0_hat → how far it is from the ceiling, (N, …), each entry a square error (of a band, say).
    """
    measured: dict[int, tuple[Latent, Tensor]] = {}

    def error(replaced: Players, kind: str = "own") -> Tensor:
        end = substitution.run(replaced, kind).z0_hat[-1]
        if id(end) not in measured:
            measured[id(end)] = (end, measure(end))
        return measured[id(end)][1]

    players = substitution.players
    modules = [name for name in MODULES if any(module == name for module, _ in players)]
    sets = [frozenset(chosen) for size in range(len(modules) + 1) for chosen in combinations(modules, size)]
    of_modules = {chosen: error(substitution.whole(chosen)) for chosen in sets}
    whole = of_modules[frozenset()]
    return Attribution(
        error=whole,
        rest=of_modules[frozenset(modules)],
        modules=shapley(modules, lambda chosen: whole - of_modules[chosen]),
        steps=both_ways(players, lambda chosen: whole - error(chosen)),
        left=of_modules,
        repaired={chosen: error(substitution.whole(chosen), "truth") for chosen in sets},
        repaired_steps={player: error(frozenset({player}), "truth") for player in players},
    )


def _no_projection(z: Latent) -> Latent:
    raise ValueError("Attribution is for loops that do not project through the HVAE, but this one does.")
