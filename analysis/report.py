"""The report of an experiment: its tables, its figures, and one page that opens offline."""

from __future__ import annotations

from pathlib import Path

from analysis import by_start, facts
from analysis.drawing import draw, draw_spectra, first_field, source_and_best
from analysis.gap import gaps
from analysis.how_far import how_far
from analysis.measures import laid_out, measures
from analysis.overhead import account
from analysis.page import Page, page_html
from analysis.samples import samples_sentences
from analysis.smoothness import read_path
from analysis.starts import from_T
from analysis.summary import summary
from analysis.table import gap_rows, gap_table
from analysis.trajectories import (
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
from analysis.viewer import viewer
from analysis.where import where
from analysis.which_setting import which_setting
from analysis.why import why
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
        page = Page(
            confirmation=confirmation,
            trials=trials,
            time=account(root, experiment),
            headline=said[0],
            trajectories=trajectories,
            gap=gap,
            rows=rows,
            how_far=far,
            measured=laid_out(measured),
            classical=facts.classical_settings(next(iter(classical.values()), {})),
            samples=samples_sentences(samples),
            where=places,
            starts=starts,
            why=reasons,
            one_step=one_step,
            space=space,
            path=path,
            setting=setting,
            drawn=drawn | setting.drawn,
            viewed=viewer(images, first_field(trajectories), shown=loops[1]),
        )
        (folder / "index.html").write_text(page_html(page), encoding="utf-8")
    return folder / "index.html"
