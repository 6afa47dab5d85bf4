"""Which rows of a trajectory table are ways to iterate, which family each belongs to, and how it is drawn.

Names come from the iterative stage: a way to iterate, perhaps its form, perhaps the degrader that it uses
("combine_z_first_anchored"). Nothing here lists them: a name's beginning gives its family, its end its degrader.
"""

from __future__ import annotations

from collections.abc import Iterable

BASELINES = ("unet", "hdn")
REFERENCES = ("input", "ceiling", "roundtrip")  # beginnings: what is neither a way to iterate nor a baseline

# Family by beginning: what it is called, and its colour (Okabe and Ito's, told apart by colour-blind readers).
FAMILIES = {
    "direct": ("direct: R and G", "#D55E00"),
    "combine": ("running combination", "#0072B2"),
    "refine": ("refinement", "#009E73"),
    "residual": ("residual update", "#CC79A7"),
    "bridge": ("linear bridge", "#B8860B"),
    "pixel": ("in pixels", "#8C564B"),
    "identity": ("control: z stays", "#777777"),
    "stop": ("control: one step", "#333333"),
}
OTHER = ("other", "#7B4EA3")

TITLES = {"unet": "UNet", "hdn": "HDN", "input": "input", "truth": "truth", "roundtrip": "Dec(E(input))"}


def is_variant(name: str) -> bool:
    """Whether a name is a way to iterate, and not a baseline, the input or a ceiling."""
    return name not in BASELINES and not name.startswith(REFERENCES)


def family(name: str) -> str:
    """The beginning in FAMILIES that a variant's name has, or "other"."""
    return next((beginning for beginning in FAMILIES if name.startswith(beginning)), "other")


def family_title(name: str) -> str:
    """What the family of a variant is called in a legend."""
    return FAMILIES.get(family(name), OTHER)[0]


def colour(name: str) -> str:
    """The colour of a variant's family."""
    return FAMILIES.get(family(name), OTHER)[1]


def is_anchored(name: str) -> bool:
    """Whether a variant's degrader also sees z_T or z_t."""
    return "anchored" in name.split("_")


def ordered(names: Iterable[str]) -> list[str]:
    """Names by degrader (blind first), family in the order of FAMILIES, then name."""
    families = [*FAMILIES, "other"]
    return sorted(set(names), key=lambda name: (is_anchored(name), families.index(family(name)), name))


def title(name: str) -> str:
    """A name as a reader sees it: "combine_z0_first_anchored" is "combine z0 first, anchored"."""
    if name in TITLES:
        return TITLES[name]
    if name.startswith("ceiling"):
        return "ceiling" + (f" ({name.removeprefix('ceiling_')})" if "_" in name else "")
    words = name.split("_")
    plain = " ".join(word for word in words if word != "anchored")
    return plain + (", anchored" if "anchored" in words else "")
