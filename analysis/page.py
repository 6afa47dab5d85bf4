"""The report's page: what it shows, section by section, and its one file of HTML that opens offline."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from analysis import by_start, facts
from analysis.drawing import ALT
from analysis.gate import gate
from analysis.how_far import HowFar
from analysis.measures import BAND_NAMES, MeasuresTable
from analysis.overhead import Account
from analysis.smoothness import path_groups, path_rows, path_sentence
from analysis.table import Row
from analysis.trajectories import Confirmation, chosen_is_blind
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
from analysis.viewer import as_json, script
from analysis.where import ALT as ALT_OF_WHERE
from analysis.where import Where
from analysis.which_setting import Settings
from analysis.why import ALT as ALT_OF_WHY
from analysis.why import Why


class Page(NamedTuple):
    """What the page shows; None or empty where the run has left nothing for it."""

    # what was run
    confirmation: Confirmation
    trials: pd.DataFrame
    time: Account | None
    # how far
    headline: str
    trajectories: pd.DataFrame  # these and the gaps, of the loops from T
    gap: pd.DataFrame
    rows: Mapping[str, list[Row]]  # of the gap table at the loop's end, by metric
    how_far: HowFar
    measured: MeasuresTable | None
    classical: list[str]
    samples: list[str]
    # where
    where: Where
    starts: by_start.ByStart | None
    # why
    why: Why | None
    one_step: pd.DataFrame
    space: pd.DataFrame
    path: pd.DataFrame
    # which setting
    setting: Settings
    # pictures
    drawn: Mapping[str, Path]  # every figure by its name
    viewed: dict[str, Any] | None


def page_html(page: Page) -> str:
    """The page as one document, its pictures within."""
    first = page.trajectories[page.trajectories["step"] == 0]
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
        confirmation=page.confirmation,
        gate=gate(page.trajectories, page.confirmation["score_against"]),
        groups=facts.groups(page.space),
        path=(path_sentence(page.path), path_groups(page.path), path_rows(page.path)),
        headline=page.headline,
        diverged={metric: _diverged(found, means, metric) for metric, found in page.rows.items()},
        blind=chosen_is_blind(page.confirmation),
        loops=_loops(page.confirmation),
        caveats=facts.caveats(page.confirmation, int(page.gap["num_fovs"].iloc[0])),
        facts=facts.acceptance(page.trajectories, page.one_step),
        rows={metric: _by_degrader(found) for metric, found in page.rows.items()},
        baselines=[name for name in BASELINES if name in set(page.gap["baseline"])],
        one_shot=[(name, means.loc[name]) for name in in_reading_order(means.index) if not is_variant(name)],
        steps=_by_step(page.trajectories, page.gap),
        levels=sorted(page.gap["level"].unique(), reverse=True),
        pictures={name: _inlined(path) for name, path in page.drawn.items()},
        alt=ALT | ALT_OF_WHY | ALT_OF_WHERE | page.setting.alt | by_start.ALT,
        how_far=page.how_far,
        where=page.where,
        setting=page.setting,
        chosen=_choices(page),
        methods=in_reading_order(page.trajectories["variant"]),
        states=page.trials.groupby(["study", "state"]).size().unstack(fill_value=0).to_dict("index"),
        time=page.time,
        samples=page.samples,
        classical=page.classical,
        measured=page.measured,
        band_names=BAND_NAMES,
        why=page.why,
        starts=page.starts,
        viewer=as_json(page.viewed) if page.viewed else "",
        viewer_script=script(),
        minutes=float(page.confirmation.get("seconds") or 0) / 60,
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


def _choices(page: Page) -> list[tuple[str, Any, str, Mapping[str, Any], str]]:
    """Study, the number of the trial chosen, its objective as text, its settings, and MLflow's id of its run or ""."""
    runs = page.trials.dropna(subset=["mlflow_run_id"]).set_index(["study", "number"])["mlflow_run_id"].to_dict()
    found = []
    for study, choice in page.confirmation.get("chosen", {}).items():
        values = choice["value"] if isinstance(choice["value"], list) else [choice["value"]]
        settings = choice.get("params") or choice.get("config") or {}
        value = ", ".join(f"{value:.3f}" for value in values)
        found.append((study, choice["number"], value, settings, runs.get((study, choice["number"]), "")))
    return found


def _inlined(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
