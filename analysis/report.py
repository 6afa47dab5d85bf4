"""The report of an experiment: its tables, its figures, and one page that opens offline."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from analysis import by_start, facts
from analysis.drawing import ALT, draw, draw_spectra, first_field, source_and_best
from analysis.gap import gaps
from analysis.gate import gate
from analysis.how_far import HowFar, how_far
from analysis.measures import BAND_NAMES, MeasuresTable, laid_out, measures
from analysis.overhead import Account, account
from analysis.samples import samples_sentences
from analysis.smoothness import path_groups, path_rows, path_sentence, read_path
from analysis.starts import from_T
from analysis.summary import summary
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
    family_title,
    in_reading_order,
    is_variant,
    ordered,
    the,
    title,
)
from analysis.viewer import as_json, script, viewer
from analysis.where import ALT as ALT_OF_WHERE
from analysis.where import Where, where
from analysis.which_setting import Settings, which_setting
from analysis.why import ALT as ALT_OF_WHY
from analysis.why import Why, why
from dehazing.pipeline.store import writing

__all__ = ["gap_table", "write_report"]


def write_report(root: Path | str, experiment: str) -> Path:
    """Writes <root>/<experiment>/report/ from what the run left, and returns the path of its index.html.

    index.html, summary.md (its sentence, figure and table), gap.csv and the tables of its sections, trials.parquet,
    trajectories.parquet, figures/*.png, each with the numbers it shows.
    ValueError where the experiment was not confirmed.
    """
    root = Path(root)
    confirmation = read_confirmation(root, experiment)
    of_all_starts = read_trajectories(root, confirmation)
    trajectories = from_T(of_all_starts)
    one_step = read_one_step_errors(root, confirmation)
    space = read_latent_space(root, confirmation)
    path = read_path(root, confirmation)
    images = read_examples(root, confirmation)
    trials = read_trials(root, experiment)
    samples, classical = (read_records(root, confirmation, name) for name in ("hdn_samples", "classical"))
    gap_of_all_starts = gaps(of_all_starts)
    gap = from_T(gap_of_all_starts)
    measured = measures(trajectories, read_refused(root, confirmation))
    folder = root / experiment / "report"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        gap_of_all_starts.to_csv(folder / "gap.csv", index=False)
        measured.to_csv(folder / "measures.csv", index=False)
        of_all_starts.to_parquet(folder / "trajectories.parquet", index=False)
        trials.to_parquet(folder / "trials.parquet", index=False)
        if len(path):
            path.drop(columns="fields").to_csv(folder / "path.csv", index=False)
        blind = chosen_is_blind(confirmation)
        drawn = draw(trajectories, one_step, images, folder / "figures", blind, samples, space)
        drawn |= draw_spectra(trajectories, gap, folder / "figures", blind)
        reasons = why(root, confirmation, gap, trajectories, folder / "figures")
        drawn |= reasons.drawn if reasons else {}
        starts = by_start.by_start(gap_of_all_starts, folder / "figures")
        drawn |= starts.drawn if starts else {}
        far = how_far(root, confirmation, gap, trajectories, trials, folder)
        loops = source_and_best(trajectories, gap, blind)
        places = where(root, confirmation, trajectories, images, loops, folder)
        drawn |= places.drawn
        setting = which_setting(root, experiment, confirmation, trials, folder)
        final_step = int(gap["step"].max())
        rows = {metric: gap_rows(gap, final_step, trajectories, metric) for metric in ("psnr", "psnr_ri")}
        said = [facts.headline(rows["psnr"], rows["psnr_ri"], blind), *([reasons.sentence] if reasons else [])]
        (folder / "summary.md").write_text(
            summary(confirmation, rows["psnr"], rows["psnr_ri"], trajectories, said, blind), encoding="utf-8"
        )
        page = folder / "index.html"
        page.write_text(
            _page(
                *(confirmation, gap, trajectories, one_step, space, path, trials, drawn | setting.drawn),
                *(account(root, experiment), far, places, setting, rows, said[0]),
                samples_sentences(samples),
                facts.classical_settings(next(iter(classical.values()), {})),
                laid_out(measured),
                reasons,
                starts,
                viewer(images, first_field(trajectories), shown=loops[1]),
            ),
            encoding="utf-8",
        )
    return page


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
    places: Where,
    setting: Settings,
    rows: Mapping[str, list[Row]],
    headline: str,
    samples: list[str],
    classical: list[str],
    measured: MeasuresTable | None,
    reasons: Why | None,
    starts: by_start.ByStart | None,
    viewed: dict[str, Any] | None,
) -> str:
    first = trajectories[trajectories["step"] == 0]
    means = first.groupby("variant")[["psnr", "psnr_ri", "ssim"]].mean()
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(title=title, the=the, colour=colour, family_title=family_title)
    return environment.get_template("report.html.j2").render(
        confirmation=confirmation,
        gate=gate(trajectories, confirmation["score_against"]),
        groups=facts.groups(space),
        path=(path_sentence(path), path_groups(path), path_rows(path)),
        headline=headline,
        diverged={metric: _diverged(found, means, metric) for metric, found in rows.items()},
        blind=chosen_is_blind(confirmation),
        loops=_loops(confirmation),
        caveats=facts.caveats(confirmation, int(gap["num_fovs"].iloc[0])),
        facts=facts.acceptance(trajectories, one_step),
        rows={metric: _by_degrader(found) for metric, found in rows.items()},
        baselines=[name for name in BASELINES if name in set(gap["baseline"])],
        one_shot=[(name, means.loc[name]) for name in in_reading_order(means.index) if not is_variant(name)],
        steps=_by_step(trajectories, gap),
        levels=sorted(gap["level"].unique(), reverse=True),
        pictures={name: _inlined(path) for name, path in drawn.items()},
        alt=ALT | ALT_OF_WHY | ALT_OF_WHERE | setting.alt | by_start.ALT,
        how_far=far,
        where=places,
        setting=setting,
        chosen=[_choice(study, choice) for study, choice in confirmation.get("chosen", {}).items()],
        states=trials.groupby(["study", "state"]).size().unstack(fill_value=0).to_dict("index"),
        time=time,
        samples=samples,
        classical=classical,
        measured=measured,
        band_names=BAND_NAMES,
        why=reasons,
        starts=starts,
        viewer=as_json(viewed) if viewed else "",
        viewer_script=script(),
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


def _inlined(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
