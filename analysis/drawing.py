"""The report's figures of the tables that the confirmation wrote, each with its numbers, and what each one shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import facts, figures, pictures
from analysis.samples import Records, samples_figure, samples_table
from analysis.scores import at_the_end
from analysis.spectrum import spectrum_figure, spectrum_table
from analysis.table import gap_rows
from analysis.variants import BASELINES, are_variants, degrader, family, ordered

SHOWN_BY_STEP = 6  # variants whose pictures are shown level by level

ALT = {
    "psnr_per_step": "PSNR of the prediction at every level for every variant, with the baselines as horizontal lines",
    "psnr_ri_per_step": "Range-invariant PSNR at every level for every variant, with the baselines as horizontal lines",
    "latent_space": "PSNR lost without each latent group, and share of test latents outside the usual range, by level",
    "examples": "One test field as the input, the baselines and every variant show it, and what it is scored against",
    "example_steps": "The same field as some variants predict it, level by level",
    "drift_per_step": "Distance of the loop's latent from the true latent at every level, for every variant",
    "power_by_frequency": "Power of the baselines, two loops and the ceiling over the reference's, by frequency",
    "coherence_by_frequency": "Coherence of the baselines, two loops and the ceiling with the reference, by frequency",
    "hdn_samples": "PSNR of the mean of HDN's samples by their number, and its error against the samples' spread",
    "one_step_errors": "Error of one step of each degrader from the true clean latent, by level",
}


def draw(
    trajectories: pd.DataFrame,
    one_step: pd.DataFrame,
    images: Mapping[str, np.ndarray],
    folder: Path,
    blind: bool = False,
    samples: Records | None = None,
    space: pd.DataFrame | None = None,
) -> dict[str, Path]:
    """Draws every figure that the tables have data for into a folder; name → path of the picture.

    blind: whether the degrader that the search chose is the source's form. samples: of HDN, by seed. space: of
    `read_latent_space`.
    """
    drawn = {}
    if samples:
        table = samples_table(samples)
        drawn["hdn_samples"] = figures.write(samples_figure(table), table, folder, "hdn_samples")
    for metric in ("psnr", "psnr_ri", "drift"):
        table = figures.curves(trajectories, metric)
        if are_variants(table["variant"]).any():
            drawn[f"{metric}_per_step"] = figures.write(
                figures.per_step(table, metric, blind), table, folder, f"{metric}_per_step"
            )
    if len(one_step):
        drawn["one_step_errors"] = figures.write(figures.one_step_errors(one_step), one_step, folder, "one_step_errors")
    if space is not None and len(space):
        drawn["latent_space"] = figures.write(figures.latent_space(space), space, folder, "latent_space")
    if "truth" in images:
        scores = _example_scores(trajectories)
        table = scores.rename_axis("variant").reset_index(name="psnr")
        drawn["examples"] = figures.write(pictures.examples(images, dict(scores)), table, folder, "examples")
        shown = _shown_by_step(images, scores)
        if shown:
            table = first_field(trajectories)[["variant", "step", "level", "psnr"]]
            table = table[table["variant"].isin(shown)]
            figure = pictures.example_steps(images, shown)
            drawn["example_steps"] = figures.write(figure, table, folder, "example_steps")
    return drawn


def draw_spectra(trajectories: pd.DataFrame, gap: pd.DataFrame, folder: Path, blind: bool) -> dict[str, Path]:
    """Draws the spectra of the baselines, the source's loop, the best one and the ceiling, as `draw` does."""
    loops = source_and_best(trajectories, gap, blind)
    of_source = loops[0]
    present = set(trajectories["variant"])
    ceiling = next((name for name in ("ceiling_truth", "ceiling_frame") if name in present), "")
    names = [name for name in dict.fromkeys((*BASELINES, *loops, ceiling)) if name in present]
    drawn = {}
    for quantity in ("power", "coherence"):
        table = spectrum_table(trajectories, quantity, names)
        if len(table):
            name = f"{quantity}_by_frequency"
            drawn[name] = figures.write(spectrum_figure(table, quantity, of_source), table, folder, name)
    return drawn


def source_and_best(trajectories: pd.DataFrame, gap: pd.DataFrame, blind: bool) -> tuple[str, str]:
    """Names of the source's loop and of the one that ends highest, "" where there is none."""
    source, best = facts.source_and_best(gap_rows(gap, int(gap["step"].max()), trajectories), blind)
    return source.variant if source else "", best.variant if best else ""


def first_field(trajectories: pd.DataFrame) -> pd.DataFrame:
    """Scores of the first seed and the first field, the one whose pictures are shown."""
    first = trajectories[trajectories["seed"] == trajectories["seed"].iloc[0]]
    return first[first["field"] == first["field"].iloc[0]]


def _example_scores(trajectories: pd.DataFrame) -> pd.Series:
    """PSNR of the pictures: one-shot methods at T, variants at their last step."""
    return at_the_end(first_field(trajectories)).set_index("variant")["psnr"]


def _shown_by_step(images: Mapping[str, np.ndarray], scores: pd.Series) -> list[str]:
    """The best of each family with each degrader, so that few pictures show the kinds; at most SHOWN_BY_STEP."""
    able = [name for name in ordered(scores.index) if f"{name}/steps" in images]
    kinds: dict[tuple[str, str], str] = {}
    for name in sorted(able, key=lambda name: -scores[name]):
        kinds.setdefault((family(name), degrader(name)), name)
    wanted = [(family, of) for of in ("blind", "chosen") for family in ("direct", "combine", "refine", "residual")]
    found = [kinds[kind] for kind in wanted if kind in kinds]
    return ordered(found[:SHOWN_BY_STEP])
