"""What the numbers say in words: the headline, and whether the pieces are good enough for it to mean anything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from analysis.gap import gap_between
from analysis.table import Row
from analysis.variants import BASELINES, ORACLES, family, is_variant, ordered, the, title

DIVERGED_DB = 10.0  # below the input: what ends there has left the data
IDLE_DB = 0.1  # a group that loses less at every level is not used
NOT_ITERATING = ("stop", "identity", *ORACLES)


class Fact(NamedTuple):
    """One measured statement, its interval in dB (NaN where it has none), and what it should be at least."""

    text: str
    value: str
    needed: str
    holds: bool


def headline(rows: list[Row], invariant: Sequence[Row] = (), blind: bool = False) -> str:
    """The sentence at the top: where the source's loop ends, where the best way to iterate does.

    rows: of `analysis.table.gap_rows` with trajectories. invariant: the same in range-invariant PSNR, which tells
    what of the source's gap is structure. blind: whether the degrader that the search chose is the source's form.
    """
    iterating = _iterating(rows)
    source, best = source_and_best(rows, blind)
    if best is None:
        return "No loop came to its end with a finite score."
    lower = sum(row.end < row.first - 0.05 for row in iterating)
    if source is not None:
        name = title(source.variant)
        text = f"After its last step the source's loop, {name}, is at {source.end:.1f} dB: {_against(source)}."
        structure = next((row for row in invariant if row.variant == source.variant and row.gaps), None)
        if structure is not None:
            text += f" With brightness and contrast forgiven, it is {_against(structure)}."
    elif any(row.variant == _name_of_source(rows, blind) for row in rows):
        text = "The source's loop did not come to its end with a finite score."
    else:
        text = "The source's loop, direct with a blind degrader in latents, was not among those that were run."
    if best is not source:
        text += (
            f" The best of {len(iterating)} ways to iterate, {title(best.variant)}, ends at {best.end:.1f} dB:"
            f" {_against(best)}."
        )
    return text + f" {lower} of {len(iterating)} end lower than they began."


def source_and_best(rows: Sequence[Row], blind: bool) -> tuple[Row | None, Row | None]:
    """The source's loop and the one that ends highest, perhaps the same; None where it is not there or not finite.

    blind: whether the degrader that the search chose is the source's form; without it, `direct` is another loop.
    """
    iterating = _iterating(rows)
    name = _name_of_source(rows, blind)
    source = next((row for row in iterating if row.variant == name), None)
    return source, max(iterating, key=lambda row: row.end, default=None)


def _name_of_source(rows: Sequence[Row], blind: bool) -> str:
    """A control that is blind is there where another form was chosen, or on purpose; "" where G sees more."""
    if any(row.variant == "direct_blind" for row in rows):
        return "direct_blind"
    return "direct" if blind else ""


def _iterating(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if family(row.variant) not in NOT_ITERATING and math.isfinite(row.end)]


def caveats(confirmation: dict, num_fields: int) -> list[str]:
    """What a reader must know before believing the headline."""
    num_seeds = len(confirmation["seeds"])
    what = "regions of one field" if confirmation["regions_of_one_field"] else "fields of view"
    against = "acquired clean frame" if confirmation["score_against"] == "frame" else "noise-free truth"
    said = [
        f"{num_fields} test {what}, {num_seeds} seed{'s' if num_seeds > 1 else ''}, scored against the {against}; "
        f"T = {confirmation['T']}, pinholes {pinholes(confirmation)}."
    ]
    if num_seeds < 3:
        said.append(
            "Fewer than three seeds decide nothing: intervals are shown, and every verdict reads undecided. "
            "The larger scales use three or five."
        )
    said.append("The best of many is picked on the test fields themselves, so its own number flatters it a little.")
    return said


def diverged(rows: list[Row]) -> str:
    """A note that names the loops that end far below the input (or nowhere finite), and how they end; "" for none."""
    names = ", ".join(title(row.variant) for row in rows)
    return f"Diverged, ending more than {DIVERGED_DB:.0f} dB below the input: {names}." if rows else ""


def groups(space: pd.DataFrame) -> str:
    """Which latent groups are used, and where the most test latents lie outside; "" where it was not measured."""
    if not len(space):
        return ""
    lost = space.groupby(["group", "level"])["psnr_lost"].mean().unstack()
    idle = [f"z{group}" for group in lost.index if not lost.loc[group].max() >= IDLE_DB]
    outside = space.groupby(["group", "level"], as_index=False)["outside"].mean()
    most = outside.loc[outside["outside"].idxmax()]
    text = "Every group is used." if not idle else f"Hardly used, below {IDLE_DB} dB at every level: {', '.join(idle)}."
    return (
        text
        + f" Most lies outside in z{most['group']:.0f} at level {most['level']:.0f}: {100 * most['outside']:.1f} %."
    )


def is_diverged(row: Row, input_db: float) -> bool:
    """Whether a loop ends more than DIVERGED_DB below the input, or nowhere finite."""
    return not row.end >= input_db - DIVERGED_DB


def acceptance(trajectories: pd.DataFrame, one_step: pd.DataFrame) -> list[Fact]:
    """Whether the baselines, the ceiling, R and G are good enough; gaps are range-invariant, at the haziest level."""
    present = set(trajectories["variant"])
    one_shot_R = next((name for name in ("stop", "direct", *_latent_variants(trajectories)) if name in present), "")
    comparisons = [
        ("The UNet gains over the input", "unet", "input", 5.0),
        ("NAFNet lies over the UNet by", "nafnet", "unet", -0.5),
        ("HDN lies over the UNet by", "hdn", "unet", -2.0),
        ("The ceiling Dec(E(x₀)), truth in, lies over the UNet by", "ceiling_truth", "unet", None),  # `gate` judges it
        ("The ceiling Dec(E(x₀)), acquired frame in, lies over the UNet by", "ceiling_frame", "unet", None),
        ("One-shot R(z_T) gains over Dec(E(x_T))", one_shot_R, "autoencoded", 3.0),
        ("One-shot R(z_T) lies over the UNet by", one_shot_R, "unet", -3.0),
    ]
    facts = []
    for text, variant, baseline, needed in comparisons:
        if {variant, baseline} <= present:
            gap, low, high = gap_between(trajectories, variant, baseline)
            value = f"{gap:+.2f} dB [{low:+.2f}, {high:+.2f}]"
            facts.append(
                Fact(text, value, "" if needed is None else f"≥ {needed:+g} dB", needed is None or gap >= needed)
            )
    errors = one_step.groupby("degrader")["error"].mean()
    if len(errors):
        names = ("anchored", "blind", "leave", "bridge", "degrader")
        value = ", ".join(f"{name} {errors[name]:.3f}" if name in errors else f"no {name}" for name in names[:3])
        value += "".join(f", {name} {errors[name]:.3f}" for name in names[3:] if name in errors)
        known = {*names[:3]} <= set(errors.index)
        holds = known and bool(errors["anchored"] < min(errors["blind"], errors["leave"]))
        facts.append(
            Fact("One step of G from the true z₀, mean over the steps", value, "anchored below blind and leave", holds)
        )
    return facts


def classical_settings(record: Mapping[str, Any]) -> list[str]:
    """With which setting each classical control stands in the table, and why others do not; a sentence each."""
    said = []
    for one in record.get("chosen", []):
        values = ", ".join(f"{value:g}" for value in one["candidates"])
        said.append(f"{title(one['control'])}: {one['setting']} {one['value']:g}, of {values}.")
    reasons: dict[str, None] = dict.fromkeys(record.get("left_out", {}).values())
    return [*said, *reasons]


def told(baseline: str, gap: float, low: float, high: float, digits: int = 1) -> str:
    """A gap in dB with its interval: "6.1 dB below the UNet [5.8, 6.4]"."""
    side, sign = ("above", 1) if gap >= 0 else ("below", -1)
    low, high = sorted((sign * low, sign * high))
    return f"{abs(gap):.{digits}f} dB {side} {the(baseline)} [{low:.{digits}f}, {high:.{digits}f}]"


def _against(row: Row) -> str:
    parts = []
    for name in BASELINES:
        if name in row.gaps:
            gap = row.gaps[name]
            parts.append(told(name, gap["gap"], gap["ci_low"], gap["ci_high"]))
    return ", ".join(parts[:-1]) + " and " * (len(parts) > 1) + "".join(parts[-1:])


def _latent_variants(trajectories: pd.DataFrame) -> list[str]:
    has_latent = trajectories.dropna(subset=["drift"])["variant"].unique()
    return ordered(name for name in has_latent if is_variant(name))


def pinholes(confirmation: dict) -> str:
    """The pinholes of the levels, 0 to T, with their unit."""
    values = ["open" if value == float("inf") else f"{value:g}" for value in confirmation["pinholes"]]
    return f"{', '.join(values)} {confirmation['pinhole_unit'].replace('au', 'AU').replace('um', 'µm')}"
