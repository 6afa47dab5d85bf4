"""The report of an experiment: its tables, its figures, and one page that opens offline."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from analysis import facts, figures, pictures
from analysis.gap import gaps
from analysis.gate import gate
from analysis.how_far import HowFar, how_far
from analysis.measures import BAND_NAMES, MeasuresTable, laid_out, measures
from analysis.overhead import Account, account
from analysis.samples import Records, samples_figure, samples_sentences, samples_table
from analysis.smoothness import path_groups, path_rows, path_sentence, read_path
from analysis.spectrum import spectrum_figure, spectrum_table
from analysis.table import Row, gap_rows, gap_table
from analysis.trajectories import (
    Confirmation,
    chosen_is_blind,
    read_confirmation,
    read_examples,
    read_latent_space,
    read_one_step_errors,
    read_records,
    read_refused,
    read_trajectories,
)
from analysis.trials import read_trials
from analysis.variants import (
    BASELINES,
    colour,
    degrader,
    family,
    family_title,
    is_variant,
    one_shot_methods,
    ordered,
    title,
)
from analysis.which_setting import Settings, which_setting
from dehazing.pipeline.store import writing

__all__ = ["gap_table", "write_report"]

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


def write_report(root: Path | str, experiment: str) -> Path:
    """Writes <root>/<experiment>/report/ from what the run left, and returns the path of its index.html.

    index.html, gap.csv and the tables of its sections, trials.parquet, trajectories.parquet, figures/*.png, each with
    the numbers it shows.
    ValueError where the experiment was not confirmed.
    """
    root = Path(root)
    confirmation = read_confirmation(root, experiment)
    trajectories = read_trajectories(root, confirmation)
    one_step = read_one_step_errors(root, confirmation)
    space = read_latent_space(root, confirmation)
    path = read_path(root, confirmation)
    images = read_examples(root, confirmation)
    trials = read_trials(root, experiment)
    samples, classical = (read_records(root, confirmation, name) for name in ("hdn_samples", "classical"))
    gap = gaps(trajectories)
    measured = measures(trajectories, read_refused(root, confirmation))
    folder = root / experiment / "report"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        gap.to_csv(folder / "gap.csv", index=False)
        measured.to_csv(folder / "measures.csv", index=False)
        trajectories.to_parquet(folder / "trajectories.parquet", index=False)
        trials.to_parquet(folder / "trials.parquet", index=False)
        if len(path):
            path.drop(columns="fields").to_csv(folder / "path.csv", index=False)
        blind = chosen_is_blind(confirmation)
        drawn = draw(trajectories, one_step, images, folder / "figures", blind, samples, space)
        drawn |= _draw_spectra(trajectories, gap, folder / "figures", blind)
        far = how_far(root, confirmation, gap, trajectories, trials, folder)
        setting = which_setting(root, experiment, confirmation, trials, folder)
        page = folder / "index.html"
        page.write_text(
            _page(
                *(confirmation, gap, trajectories, one_step, space, path, trials, drawn | setting.drawn),
                *(account(root, experiment), far, setting),
                samples_sentences(samples),
                facts.classical_settings(next(iter(classical.values()), {})),
                laid_out(measured),
            ),
            encoding="utf-8",
        )
    return page


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
        if table["variant"].map(is_variant).any():
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
            table = _first_field(trajectories)[["variant", "step", "level", "psnr"]]
            table = table[table["variant"].isin(shown)]
            figure = pictures.example_steps(images, shown)
            drawn["example_steps"] = figures.write(figure, table, folder, "example_steps")
    return drawn


def _draw_spectra(trajectories: pd.DataFrame, gap: pd.DataFrame, folder: Path, blind: bool) -> dict[str, Path]:
    source, best = facts.source_and_best(gap_rows(gap, int(gap["step"].max()), trajectories), blind)
    loops = [row.variant for row in (source, best) if row is not None]
    of_source = source.variant if source is not None else ""
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


def _page(
    confirmation: Confirmation,
    gap: pd.DataFrame,
    trajectories: pd.DataFrame,
    one_step: pd.DataFrame,
    space: pd.DataFrame,
    path: pd.DataFrame,
    trials: pd.DataFrame,
    drawn: Mapping[str, Path],
    time: Account | None,
    far: HowFar,
    setting: Settings,
    samples: list[str],
    classical: list[str],
    measured: MeasuresTable | None,
) -> str:
    final_step = int(gap["step"].max())
    rows = {metric: gap_rows(gap, final_step, trajectories, metric) for metric in ("psnr", "psnr_ri")}
    first = trajectories[trajectories["step"] == 0]
    one_shot = (*one_shot_methods(), "input", "autoencoded", "ceiling_frame", "ceiling_truth")
    means = first.groupby("variant")[["psnr", "psnr_ri", "ssim"]].mean()
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(title=title, colour=colour, family_title=family_title)
    return environment.get_template("report.html.j2").render(
        confirmation=confirmation,
        gate=gate(trajectories, confirmation["score_against"]),
        groups=facts.groups(space),
        path=(path_sentence(path), path_groups(path), path_rows(path)),
        headline=facts.headline(rows["psnr"], rows["psnr_ri"], chosen_is_blind(confirmation)),
        diverged={metric: _diverged(found, means, metric) for metric, found in rows.items()},
        blind=chosen_is_blind(confirmation),
        loops=_loops(confirmation),
        caveats=facts.caveats(confirmation, int(gap["num_fovs"].iloc[0])),
        facts=facts.acceptance(trajectories, one_step),
        rows={metric: _by_degrader(found) for metric, found in rows.items()},
        baselines=[name for name in BASELINES if name in set(gap["baseline"])],
        one_shot=[(name, means.loc[name]) for name in one_shot if name in means.index],
        steps=_by_step(trajectories, gap),
        levels=sorted(gap["level"].unique(), reverse=True),
        pictures={name: _inlined(path) for name, path in drawn.items()},
        alt=ALT | setting.alt,
        how_far=far,
        setting=setting,
        chosen=[_choice(study, choice) for study, choice in confirmation.get("chosen", {}).items()],
        states=trials.groupby(["study", "state"]).size().unstack(fill_value=0).to_dict("index"),
        time=time,
        samples=samples,
        classical=classical,
        measured=measured,
        band_names=BAND_NAMES,
        minutes=float(confirmation.get("seconds") or 0) / 60,
    )


def _by_step(trajectories: pd.DataFrame, gap: pd.DataFrame) -> list[tuple[str, dict[int, float], dict[int, str]]]:
    """Variant, level → mean PSNR, level → verdict against the UNet (or the first baseline)."""
    baseline = next(name for name in BASELINES if name in set(gap["baseline"]))
    of_psnr = gap[(gap["metric"] == "psnr") & (gap["baseline"] == baseline)]
    means = trajectories.groupby(["variant", "level"])["psnr"].mean()
    return [
        (name, means.loc[name].to_dict(), dict(zip(rows["level"], rows["verdict"], strict=True)))
        for name in ordered(of_psnr["variant"])
        for rows in [of_psnr[of_psnr["variant"] == name]]
    ]


def _by_degrader(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    return [(of, list(members)) for of, members in groupby(rows, lambda row: degrader(row.variant))]


def _diverged(rows: list[Row], means: pd.DataFrame, metric: str) -> str:
    if "input" not in means.index:
        return ""
    return facts.diverged([row for row in rows if facts.is_diverged(row, float(means[metric]["input"]))])


def _loops(confirmation: Confirmation) -> list[tuple[str, str]]:
    """Variant, its settings as text."""
    return [
        (loop["name"], ", ".join(f"{key} {_setting(value)}" for key, value in loop.items() if key != "name"))
        for loop in confirmation.get("loops", [])
    ]


def _setting(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"({', '.join(f'{key} {_setting(entry)}' for key, entry in value.items())})"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _choice(study: str, choice: Mapping[str, Any]) -> tuple[str, Any, str, Mapping[str, Any]]:
    values = choice["value"] if isinstance(choice["value"], list) else [choice["value"]]
    settings = choice.get("params") or choice.get("config") or {}
    return study, choice["number"], ", ".join(f"{value:.3f}" for value in values), settings


def _first_field(trajectories: pd.DataFrame) -> pd.DataFrame:
    """Scores of the first seed and the first field, the one whose pictures are shown."""
    first = trajectories[trajectories["seed"] == trajectories["seed"].iloc[0]]
    return first[first["field"] == first["field"].iloc[0]]


def _example_scores(trajectories: pd.DataFrame) -> pd.Series:
    """PSNR of the pictures: one-shot methods at T, variants at their last step."""
    rows = _first_field(trajectories)
    last = rows.groupby("variant")["step"].transform("max").where(rows["variant"].map(is_variant), 0)
    return rows[rows["step"] == last].set_index("variant")["psnr"]


def _shown_by_step(images: Mapping[str, np.ndarray], scores: pd.Series) -> list[str]:
    """The best of each family with each degrader, so that few pictures show the kinds; at most SHOWN_BY_STEP."""
    able = [name for name in ordered(scores.index) if f"{name}/steps" in images]
    kinds: dict[tuple[str, str], str] = {}
    for name in sorted(able, key=lambda name: -scores[name]):
        kinds.setdefault((family(name), degrader(name)), name)
    wanted = [(family, of) for of in ("blind", "chosen") for family in ("direct", "combine", "refine", "residual")]
    found = [kinds[kind] for kind in wanted if kind in kinds]
    return ordered(found[:SHOWN_BY_STEP])


def _inlined(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
