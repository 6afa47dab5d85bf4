"""The answer in Markdown, as a README shows it: the sentence, the figure, the table, and what it was measured on.

    python -m analysis.summary results/lines-laptop/report --readme README.md --figure docs/laptop.png

puts summary.md of a report between the two marks of a README, and the report's figure (with its data) where it points.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import pandas as pd

from analysis.facts import pinholes, source_and_best
from analysis.table import Row
from analysis.trajectories import Confirmation
from analysis.variants import BASELINES, degrader, title

FIGURE = "psnr_per_step"
BEGIN, END = "<!-- from a report: analysis/summary.py -->", "<!-- end of the report -->"
ALT = "PSNR at every step of every way to iterate, with the baselines and the ceiling"
GROUPS = {"blind": "blind G", "anchored": "G anchored on z_T", "pixels": "in pixels, R and G of equal size"}


def summary(
    confirmation: Confirmation,
    rows: Sequence[Row],
    invariant: Sequence[Row],
    trajectories: pd.DataFrame,
    sentences: Sequence[str],
    blind: bool,
) -> str:
    """What stands above the fold of a report, as Markdown with the figure at figures/psnr_per_step.png.

    rows, invariant: of `analysis.table.gap_rows` with trajectories, in PSNR and in range-invariant PSNR. A loop that
    matches moments is left to the report, but for the best of all.
    """
    baselines = [name for name in BASELINES if any(name in row.gaps for row in rows)]
    _, best = source_and_best(rows, blind)
    shown = [row for row in rows if "matched" not in row.variant.split("_") or row is best]
    head = ["way to iterate", "PSNR, first → last", *(f"gap to {title(name)}, dB" for name in baselines)]
    head.append(f"range-invariant gap to {title(baselines[0])}, dB")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    of_structure = {row.variant: row.gaps for row in invariant}
    for of, members in groupby(shown, lambda row: degrader(row.variant)):
        group = GROUPS.get(of, GROUPS["blind"] if blind else "the G that the search chose")
        lines.append(f"| **{group}** |" + " |" * (len(head) - 1))
        for row in members:
            cells = [title(row.variant, False), f"{row.first:.1f} → {row.end:.1f}"]
            cells += [_gap(row.gaps[name]) for name in baselines] + [_gap(of_structure[row.variant][baselines[0]])]
            lines.append(f"| {' | '.join(cells)} |")
    note = _note(confirmation, trajectories, baselines, len(rows) - len(shown))
    return "\n\n".join([*sentences, f"![{ALT}](figures/{FIGURE}.png)", "\n".join(lines), f"*{note}*"]) + "\n"


def _gap(row: pd.Series) -> str:
    return f"{row['gap']:+.1f} [{row['ci_low']:+.1f}, {row['ci_high']:+.1f}]"


def _note(confirmation: Confirmation, trajectories: pd.DataFrame, baselines: Sequence[str], left_out: int) -> str:
    at_T = trajectories[trajectories["step"] == 0]
    means = at_T.groupby("variant")["psnr"].mean()
    names = {name: title(name) for name in (*baselines, "input")}
    names |= {"input": "input", "ceiling_truth": "ceiling Dec(E(x_0))"}
    scores = ", ".join(f"{text} {means[name]:.1f}" for name, text in names.items() if name in means)
    num_fields = at_T["field"].nunique()
    seeds = ", ".join(str(seed) for seed in confirmation["seeds"])
    text = (
        f"{confirmation['dataset_title']}, scale {confirmation['scale']}: T = {confirmation['T']}, pinholes "
        f"{pinholes(confirmation)}, {num_fields} test fields, seeds {seeds}. PSNR of one step at T, dB: {scores}. Gaps "
        "at the end of the loop, positive = better than the baseline, with 95 % intervals over fields and seeds."
    )
    return text + (f" {left_out} loops that match moments are in the report." if left_out else "")


def put_into(readme: Path, report: Path, figure: Path) -> None:
    """Replaces what stands between the marks of a README by a report's summary, and copies its figure and its data.

    figure: where the PNG goes, below the README's folder. ValueError where the marks or the report are not there.
    """
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{readme} must hold the marks {BEGIN!r} and {END!r} once each, in this order.")
    source = report / "summary.md"
    if not source.is_file():
        raise ValueError(f"A report's folder holds summary.md, but {report} does not: write the report first.")
    where = figure.resolve().relative_to(readme.resolve().parent).as_posix()
    block = source.read_text(encoding="utf-8").replace(f"figures/{FIGURE}.png", where)
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    for ending in (".png", ".csv"):
        shutil.copyfile(report / "figures" / f"{FIGURE}{ending}", figure.with_suffix(ending))
    readme.write_text(f"{before}{BEGIN}\n\n{block}\n{after}", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m analysis.summary", description=str(__doc__).splitlines()[0])
    parser.add_argument("report", type=Path, help="the folder of a report")
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    parser.add_argument("--figure", type=Path, required=True, help="where the figure goes, a PNG beside the README")
    given = parser.parse_args(arguments)
    try:
        put_into(given.readme, given.report, given.figure)
    except ValueError as mistake:
        print(mistake, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
