"""The answer in Markdown: it says what the tables say, and a README takes it over between two marks."""

import re

import pandas as pd
import planted_experiment
import pytest

from analysis import summary
from analysis.report import write_report
from analysis.variants import title

README = f"# A title\n\nabove\n\n{summary.BEGIN}\nold\n{summary.END}\n\nbelow\n"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    return write_report(root, planted_experiment.plant(root, seeds=(1, 2, 3), num_fields=6)).parent


@pytest.fixture
def readme(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(README)
    return path


def test_every_number_of_the_table_is_that_of_the_gap_table(report):
    text = (report / "summary.md").read_text()
    gap = pd.read_csv(report / "gap.csv").set_index(["variant", "metric", "baseline"]).sort_index()
    for variant in ("direct_blind", "residual_anchored", "direct_pixels"):
        row = next(line for line in _rows_below(text, variant) if line.startswith(f"| {title(variant, False)} |"))
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        for cell, (metric, baseline) in zip(
            cells[2:], [("psnr", "unet"), ("psnr", "nafnet"), ("psnr", "hdn"), ("psnr_ri", "unet")], strict=True
        ):
            last = gap.loc[(variant, metric, baseline)].sort_values("step").iloc[-1]
            assert cell == f"{last['gap']:+.1f} [{last['ci_low']:+.1f}, {last['ci_high']:+.1f}]"


def _rows_below(text, variant):
    """The lines of the group of this variant's degrader."""
    group = summary.GROUPS[variant.rpartition("_")[2]]
    below = text.split(f"| **{group}** |", 1)[1].splitlines()[1:]
    return below[: next((k for k, line in enumerate(below) if line.startswith(("| **", "*")) or not line), len(below))]


def test_it_says_the_sentence_of_the_page_and_what_was_measured(report):
    text = (report / "summary.md").read_text()
    assert text.startswith("After its last step the source's loop, direct (blind), is at ")
    assert "6 test fields, seeds 1, 2, 3." in text
    page = re.sub(r"\s+", " ", (report / "index.html").read_text())
    assert text.splitlines()[0].replace("'", "&#39;") in page


def test_it_says_the_verdict_on_blur_after_that_on_fidelity(report):
    fidelity, blur, below = (report / "summary.md").read_text().split("\n\n", 2)
    answers = pd.read_csv(report / "verdicts.csv").set_index(["question", "variant"])
    found = answers.loc[("blur: power", "direct_blind")]
    assert "dB below the UNet" in fidelity and below.startswith("![")
    assert blur.startswith(f"And blur: direct (blind) misses {100 * (1 - found['value']):.0f} % of the power at 0.")
    assert f"({found['verdict']}); so " in blur and blur.endswith(".") and blur.count("; ") == 1
    page = re.sub(r"\s+", " ", (report / "index.html").read_text())
    assert blur in page, "in the page's words"


def test_a_readme_takes_it_over_and_twice_is_once(report, readme):
    figure = readme.parent / "docs" / "shown.png"
    figure.parent.mkdir()
    arguments = [str(report), "--readme", str(readme), "--figure", str(figure)]
    assert summary.main(arguments) == 0
    once = readme.read_text()
    assert once.startswith("# A title\n\nabove\n") and once.endswith("\n\nbelow\n") and "\nold\n" not in once
    assert "](docs/shown.png)" in once and figure.read_bytes() == (report / "figures/psnr_per_step.png").read_bytes()
    assert figure.with_suffix(".csv").is_file()
    assert summary.main(arguments) == 0
    assert readme.read_text() == once


def test_without_marks_or_a_report_nothing_is_changed(report, readme, tmp_path, capsys):
    figure = str(tmp_path / "shown.png")
    assert summary.main([str(tmp_path / "none"), "--readme", str(readme), "--figure", figure]) == 2
    assert "write the report first" in capsys.readouterr().err
    assert readme.read_text() == README
    readme.write_text("no marks")
    assert summary.main([str(report), "--readme", str(readme), "--figure", figure]) == 2
    assert "must hold the marks" in capsys.readouterr().err
    assert readme.read_text() == "no marks" and not (tmp_path / "shown.png").exists()
