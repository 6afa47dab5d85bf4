"""Which rows of a trajectory table are ways to iterate, which family each belongs to, and how it is drawn.

Names come from the iterative stage: a way to iterate, perhaps what it combines with, perhaps the degrader that it uses
("combine_z_first_anchored"). Nothing here lists them: a name's beginning gives its family, its end its degrader.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

BASELINES = ("unet", "nafnet", "hdn")
ONE_SHOT = ("input", "autoencoded", "ceiling", "frame", "truth")  # beginnings: neither ways to iterate nor baselines
CLASSICAL = ("wiener", "richardson_lucy", "rolling_ball", "rolling_ball_richardson_lucy")  # controls without a network
TURNED = "_turned"  # the end of a one-shot method's name where it is averaged over eight orientations
ORACLES = ("teacher_forced",)  # these see what no user has, so they are shown but never called the best

# Family by beginning: what it is called, and its colour (after Okabe and Ito, told apart by colour-blind readers).
FAMILIES = {
    "direct": ("direct: R and G in turn", "#D55E00"),
    "combine": ("running combination", "#0072B2"),
    "refine": ("refinement", "#009E73"),
    "residual": ("residual update", "#C2579A"),
    "bridge": ("linear bridge", "#A67C00"),
    "indi": ("InDI step", "#882255"),
    "pixel": ("in pixels", "#8C564B"),
    "identity": ("control: z stays", "#7F7F7F"),
    "stop": ("control: one step", "#222222"),
    "teacher_forced": ("oracle: R on true latents", "#56A8DB"),
}
OTHER = ("other", "#7B4EA3")
DEGRADERS = ("blind", "anchored", "pixels")  # ends of names; without one it is the degrader that the search chose

TITLES = {
    "unet": "UNet",
    "nafnet": "NAFNet",
    "hdn": "HDN",
    "wiener": "control: Wiener",
    "richardson_lucy": "control: Richardson-Lucy",
    "rolling_ball": "control: rolling ball",
    "rolling_ball_richardson_lucy": "control: rolling ball, Richardson-Lucy",
    "autoencoded": "Dec(E(input))",
    "ceiling_frame": "ceiling, frame in",
    "ceiling_truth": "ceiling, truth in",
    "frame": "acquired",
    "teacher_forced": "teacher-forced",
}
WORDS = {"z0": "ẑ₀", "z": "z", "indi": "InDI"}


def is_variant(name: str) -> bool:
    """Whether a name is a way to iterate or a control of one, and not something that takes one step by itself."""
    method = name.removesuffix(TURNED)
    return method not in (*BASELINES, *CLASSICAL) and not name.startswith(ONE_SHOT)


def are_variants(names: pd.Series) -> pd.Series:
    """`is_variant` of every row; each name is looked at once, as a table has millions of rows and a few dozen names."""
    return names.isin([name for name in names.unique() if is_variant(name)])


def one_shot_methods(turned: bool = True) -> list[str]:
    """Names of the baselines and of the classical controls in reading order, each with its average over turns."""
    methods = (*BASELINES, *CLASSICAL)
    return [name for method in methods for name in (method, method + TURNED)] if turned else [*methods]


def family(name: str) -> str:
    """The beginning in FAMILIES that a variant's name has, or "other"."""
    return next((beginning for beginning in FAMILIES if name.startswith(beginning)), "other")


def family_title(name: str) -> str:
    """What the family of a variant is called in a legend."""
    return FAMILIES.get(family(name), OTHER)[0]


def colour(name: str) -> str:
    """The colour of a variant's family."""
    return FAMILIES.get(family(name), OTHER)[1]


def degrader(name: str) -> str:
    """Which degrader a variant runs with: blind, anchored, pixels, or chosen (by the search)."""
    end = name.rpartition("_")[2]
    return end if end in DEGRADERS else "chosen"


def ordered(names: Iterable[str]) -> list[str]:
    """Names by degrader (the chosen one first), then in the order of FAMILIES, then by name."""
    degraders, families = ["chosen", *DEGRADERS], [*FAMILIES, "other"]
    return sorted(set(names), key=lambda name: (degraders.index(degrader(name)), families.index(family(name)), name))


def title(name: str, with_degrader: bool = True) -> str:
    """A name as a reader sees it: "combine_z0_first_blind" is "combine ẑ₀ first (blind)"."""
    if name in TITLES:
        return TITLES[name]
    if name.endswith(TURNED):
        return f"{title(name.removesuffix(TURNED))}, averaged over turns"
    plain = name if degrader(name) == "chosen" else name.rpartition("_")[0]
    text = " ".join(WORDS.get(word, word) for word in plain.split("_"))
    return text if plain == name or not with_degrader else f"{text} ({degrader(name)})"


def the(name: str) -> str:
    """ "the UNet", or a name as it is titled."""
    return "the UNet" if name == "unet" else title(name)
