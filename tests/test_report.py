"""The report is whole, offline, and says what the numbers say."""

import pandas as pd
import pytest
from planted_experiment import CLASSICAL, ENDS, EXPERIMENT, HDN, plant
from report_page import Page

from analysis.gap import COLUMNS
from analysis.report import gap_table, write_report
from analysis.trajectories import read_confirmation
from analysis.variants import title
from studies.__main__ import main

CEILINGS = ("ceiling_truth", "ceiling_frame")
TABLES = ("blur", "verdicts", "promised", "detectable", "place", "importance", "isolation")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    page = write_report(root, plant(root, seeds=(1, 2, 3), num_fields=8))
    return root, page, Page(page.read_text(encoding="utf-8"))


def test_everything_is_written(written):
    _, page, _ = written
    assert page.name == "index.html"
    found = {path.relative_to(page.parent).as_posix() for path in page.parent.rglob("*") if path.is_file()}
    names = (
        "psnr_per_step",
        "psnr_ri_per_step",
        "drift_per_step",
        "one_step_errors",
        "examples",
        "example_steps",
        "hdn_samples",
        "power_by_frequency",
        "coherence_by_frequency",
        "gap_by_field",
        "extreme_fields",
        "plane",
        "alpha_schedules",
    )
    assert found == {
        *("index.html", "summary.md", "gap.csv", "measures.csv", "path.csv", "trials.parquet", "trajectories.parquet"),
        *(f"{name}.csv" for name in TABLES),
        *(f"figures/{name}.{end}" for name in names for end in ("png", "csv")),
        *("figures/latent_space.png", "figures/latent_space.csv"),
    }


def test_the_gap_table_has_every_variant_step_and_baseline(written):
    _, page, _ = written
    gap = pd.read_csv(page.parent / "gap.csv")
    assert tuple(gap.columns) == COLUMNS
    assert len(gap) == len(ENDS) * 6 * 2 * 3  # steps, metrics, baselines
    assert set(gap["variant"]) == set(ENDS)


def test_the_page_needs_nothing_from_outside(written):
    _, page, parsed = written
    assert all(
        link.startswith(
            ("#", "data:image/png;base64,", "figures/", "gap.csv", "measures.csv", "path.csv", "tr", *TABLES)
        )
        for link in parsed.links
    )
    assert not {"link", "iframe"} & set(parsed.tags)
    assert "url(" not in page.read_text() and "@import" not in page.read_text()
    for link in parsed.links:
        within = link.startswith("#") and f'id="{link[1:]}"' in page.read_text(encoding="utf-8")
        assert within or link.startswith("data:") or (page.parent / link).exists(), link


def test_pictures_have_alternatives_and_tables_are_there(written):
    _, _, parsed = written
    of_viewer = 4  # whose script gives three of them what they show, and their alternatives
    assert parsed.tags.count("img") == len(parsed.alts) == 14 + of_viewer and parsed.alts.count("") == 3
    assert parsed.tags.count("table") >= 5


def test_the_headline_says_the_numbers(written):
    _, page, parsed = written
    gap = pd.read_csv(page.parent / "gap.csv")
    final = gap[(gap["variant"] == "direct_blind") & (gap["step"] == 5) & (gap["metric"] == "psnr")]
    to_unet = final.set_index("baseline").loc["unet", "gap"]
    assert "the source's loop, direct (blind), is at" in parsed.text
    to_nafnet, to_hdn = (final.set_index("baseline").loc[name, "gap"] for name in ("nafnet", "hdn"))
    assert f"{abs(to_unet):.1f} dB below the UNet" in parsed.text
    assert f", {abs(to_nafnet):.1f} dB below NAFNet [" in parsed.text
    assert f" and {abs(to_hdn):.1f} dB below HDN [" in parsed.text
    assert "The best of 28 ways to iterate, residual," in parsed.text
    assert "26 of 28 end lower than they began" in parsed.text
    assert "8 test fields of view, 3 seeds, scored against the noise-free truth" in parsed.text
    assert "abc1234" in parsed.text and "have been sorted" in parsed.text


def test_both_questions_every_step_and_what_can_be_detected_are_there(written):
    _, page, parsed = written
    assert "Fidelity Direct (blind) ends at 2" in parsed.text and "Blur: power Direct (blind) misses" in parsed.text
    assert "8 fields and 3 seeds show a true gap of 0." in parsed.text
    for baseline in ("UNet", "NAFNet", "HDN"):
        assert f"Every step against {baseline}: gap in dB" in parsed.text
    assert "the best of 2 trials promised val/psnr 31.90 on validation" in parsed.text
    answers = pd.read_csv(page.parent / "verdicts.csv")
    assert set(answers["question"]) == {"fidelity", "blur: power", "blur: detail"} and len(answers) == 6


def test_every_number_has_the_run_behind_it_named(written):
    root, page, parsed = written
    chosen = read_confirmation(root, EXPERIMENT)["chosen"]
    trials = pd.read_parquet(page.parent / "trials.parquet").set_index(["study", "number"])["mlflow_run_id"].dropna()
    ids = [trials.get((study, choice["number"])) for study, choice in chosen.items()]
    assert any(ids) and all(run in parsed.text for run in ids if run)
    _, _, names = parsed.text.partition("What the run of each row is called")
    for name in (*ENDS, *CLASSICAL, "unet", "nafnet", "hdn", "input"):
        assert f"{title(name)} {name} " in names, name


def test_too_few_trials_to_tell_which_setting_moves_anything_is_said(written):
    _, _, parsed = written
    assert "unet: 2 trials tell nothing; 20 are needed." in parsed.text
    assert "Too few complete trials to isolate a parameter, or none to isolate: degrader (1), unet (2)" in parsed.text


def test_classical_controls_and_averages_stand_beside_the_baselines_and_are_no_variants(written):
    _, page, parsed = written
    for shown in ("control: rolling ball 27.", "control: Richardson-Lucy 25.", "UNet, averaged over turns 3"):
        assert shown in parsed.text, shown
    assert not set(pd.read_csv(page.parent / "gap.csv")["variant"]) & set(CLASSICAL)
    assert "control: rolling ball: radius 16, of 8, 16. control: Richardson-Lucy: num_iterations 10" in parsed.text
    assert "No PSF, no Wiener." in parsed.text


def test_hdns_samples_are_shown_by_their_number_and_their_calibration_is_said(written):
    _, page, parsed = written
    assert "The mean of 8 samples lies 0.88 dB above a single one" in parsed.text  # 1 - 1/8
    assert "slope 1.50 and intercept 0.020" in parsed.text and "this one is too sure of itself" in parsed.text
    table = pd.read_csv(page.parent / "figures" / "hdn_samples.csv")
    assert table["psnr"].notna().sum() == 3 * 4 and table["rmse"].notna().sum() == 3 * 12
    assert table.loc[table["num"] == 8, "psnr"].tolist() == pytest.approx([HDN - 1 / 8] * 3)


def test_where_the_gap_sits_is_said_and_shown(written):
    _, page, parsed = written
    scores = pd.read_parquet(page.parent / "trajectories.parquet")
    psnr = scores[scores["step"] == 5].pivot_table(index=["seed", "field"], columns="variant", values="psnr")
    at_T = scores[scores["step"] == 0].pivot_table(index=["seed", "field"], columns="variant", values="psnr")
    loop, hdn = 10 ** (-psnr["direct_blind"] / 10), 10 ** (-at_T["hdn"] / 10)
    share = (0.8 * loop - 0.5 * hdn).sum() / (loop - hdn).sum()  # as planted
    said = f"Of direct (blind)'s additional squared error over HDN, {100 * share:.0f} % ["
    assert said in parsed.text and "lies on background, 90 % of the pixels." in parsed.text
    table = pd.read_csv(page.parent / "place.csv")
    assert len(table) == 2 * (7 + len(CLASSICAL) + len(ENDS)) and table["psnr"].notna().all()

    gap = (psnr["direct_blind"] - at_T["hdn"]).groupby("field").mean()
    worst = (
        f"direct (blind) against HDN, the baseline of highest PSNR: worst on {gap.idxmin()}, {-gap.min():.1f} dB below"
    )
    assert f"{worst}, best on {gap.idxmax()}," in parsed.text
    shown = pd.read_csv(page.parent / "figures" / "extreme_fields.csv")
    of_first = (psnr["direct_blind"] - at_T["hdn"])[1]
    assert shown["field"].tolist()[:2] == [of_first.idxmin(), of_first.idxmax()] and set(shown["seed"]) == {1}
    assert len(pd.read_csv(page.parent / "figures" / "gap_by_field.csv")) == 2 * 3 * 8  # loops, seeds, fields

    plane = pd.read_csv(page.parent / "figures" / "plane.csv").set_index("method")
    assert plane.index[plane["on_front"]].tolist() == ["hdn"], "all are equally sharp, and no oracle counts"
    assert "None of 28 ways to iterate lies on it" in parsed.text and "Every point of the plane" in parsed.text


def test_the_gate_and_both_verdicts_stand_above_everything_else_and_the_groups_below(written):
    _, page, parsed = written
    first = page.read_text(encoding="utf-8").partition("<figure>")[0]
    answers = pd.read_csv(page.parent / "verdicts.csv")
    of_blur = answers[(answers["question"] == "blur: power") & (answers["variant"] == "direct_blind")].iloc[0]
    blur = " ".join(first.split('<p id="blur">')[1].split("<a")[0].split())
    assert blur.startswith(f"And blur: direct (blind) misses {100 * (1 - of_blur['value']):.0f} % of the power at 0.")
    assert f"({of_blur['verdict']}). So " in blur, "the second headline, beside that of fidelity"
    assert "The gate holds: Dec(E(x₀)) of the noise-free x₀ lies +14.3 dB [" in first
    assert "Every group is used. Most lies outside in z1 at level 6: 6.2 %." in parsed.text
    numbers = pd.read_csv(page.parent / "figures" / "latent_space.csv")
    assert len(numbers) == 3 * 7 * 3 and set(numbers["psnr_lost"]) == {9.0, 2.0, 0.5}  # seeds, levels, groups


def test_other_measures_have_a_table_with_their_units_and_a_file_of_numbers(written):
    _, page, parsed = written
    headings = "of 1 ↑ error in band ratio of energies ↓ power in band ratio → 1 coherence in band of 1 ↑ detail 1/px ↑"
    assert f"method structural similarity {headings} residue % → 0 lines of 1 ↑ SSIM MS- Micro 1 2 3 4" in parsed.text
    assert "1: 0–0.125, 2: 0.125–0.25, 3: 0.25–0.375, 4: 0.375–0.5 cycles/px" in parsed.text
    bands = "0.05 0.10 0.15 0.20 1.00 0.90 0.80 0.70 1.00 0.80 0.60 0.40 0.400 1.0 0.900"
    assert parsed.text.count(bands) == 7 + len(CLASSICAL) + len(ENDS)
    numbers = pd.read_csv(page.parent / "measures.csv")
    assert set(numbers["method"]) == {*ENDS, *CLASSICAL, "unet", "nafnet", "hdn", "input", "autoencoded", *CEILINGS}
    assert numbers["mean"].notna().all() and len(numbers) == 18 * numbers["method"].nunique()


def test_the_printed_table_has_a_line_per_variant(written):
    _, page, _ = written
    gap = pd.read_csv(page.parent / "gap.csv")
    plain = gap_table(gap, 5)
    lines = {line.split()[0]: line for line in plain.splitlines() if line.strip()}
    assert set(lines) == {"variant", *ENDS}
    assert "trails" in lines["direct_blind"] and "beats" in lines["teacher_forced"]
    whole = gap_table(gap, 5, pd.read_parquet(page.parent / "trajectories.parquet"))
    assert whole.splitlines()[0].split()[:3] == ["variant", "first", "end"]
    assert max(map(len, whole.splitlines())) < 150


def test_the_same_run_gives_the_same_tables_and_the_terminal_says_the_gate(written, capsys):
    root, page, _ = written
    before = (page.parent / "gap.csv").read_bytes()
    assert main(["report", "--storage", str(root)]) == 0
    assert "\n\nThe gate holds: Dec(E(x₀)) of the noise-free x₀ lies +14.3 dB [" in capsys.readouterr().out
    assert (page.parent / "gap.csv").read_bytes() == before
