"""The report is whole, offline, and says what the numbers say."""

import io
import json
from html.parser import HTMLParser

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from planted_experiment import CLASSICAL, ENDS, HDN, evaluation, plant

from analysis.facts import acceptance, groups
from analysis.gap import COLUMNS
from analysis.report import gap_table, write_report
from analysis.trajectories import read_confirmation, read_one_step_errors, read_refused, read_trajectories
from studies.__main__ import main

CEILINGS = ("ceiling_truth", "ceiling_frame")
TABLES = ("blur", "verdicts", "promised", "detectable", "place", "importance", "isolation")


class Page(HTMLParser):
    """What a page links to, shows and says."""

    def __init__(self, text):
        super().__init__()
        self.links, self.alts, self.tags, self.words = [], [], [], []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action"):
                self.links.append(value)
            if name == "alt":
                self.alts.append(value)

    def handle_data(self, data):
        self.words.append(data)


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
        link.startswith(("data:image/png;base64,", "figures/", "gap.csv", "measures.csv", "path.csv", "tr", *TABLES))
        for link in parsed.links
    )
    assert not {"link", "iframe"} & set(parsed.tags)
    assert "url(" not in page.read_text() and "@import" not in page.read_text()
    for link in parsed.links:
        assert link.startswith("data:") or (page.parent / link).exists(), link


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


def test_an_evaluation_without_samples_or_settings_still_makes_a_report(tmp_path):
    name = plant(tmp_path, T=2, num_fields=4, records=False)
    page = Page(write_report(tmp_path, name).read_text(encoding="utf-8"))
    assert page.tags.count("img") == 16 and "samples are worth" not in page.text
    assert "Pictures of the worst and the best field were not kept by this evaluation" in page.text


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


def test_an_evaluation_that_did_not_look_at_places_makes_a_report_without(tmp_path, monkeypatch):
    import planted_experiment

    monkeypatch.setattr(planted_experiment, "on_places", lambda *_: {})
    page = write_report(tmp_path, plant(tmp_path, T=2, num_fields=4))
    text = Page(page.read_text(encoding="utf-8")).text
    assert "on structure or on background" not in text and "Fidelity against sharpness" in text
    assert not (page.parent / "place.csv").exists()


def test_real_series_of_one_field_say_so(tmp_path):
    name = plant(tmp_path, T=2, num_fields=4, regions_of_one_field=True, score_against="frame", notes=[])
    text = Page(write_report(tmp_path, name).read_text(encoding="utf-8")).text
    assert "4 test regions of one field, 2 seeds, scored against the acquired clean frame" in text
    assert "against the acquired clean frame (there is no noise-free truth)" in text
    assert "The gate" not in text and "Dec(E(x₀)) of the acquired frame lies +" in text
    assert "Fewer than three seeds decide nothing" in text and "Notes of the reader" not in text


def test_the_gate_stands_above_everything_else_and_the_groups_below(written):
    _, page, parsed = written
    first = page.read_text(encoding="utf-8").partition("<figure>")[0]
    assert "The gate holds: Dec(E(x₀)) of the noise-free x₀ lies +14.3 dB [" in first
    assert "Every group is used. Most lies outside in z1 at level 6: 6.2 %." in parsed.text
    numbers = pd.read_csv(page.parent / "figures" / "latent_space.csv")
    assert len(numbers) == 3 * 7 * 3 and set(numbers["psnr_lost"]) == {9.0, 2.0, 0.5}  # seeds, levels, groups


def test_a_group_that_nothing_is_lost_without_is_named():
    from planted_experiment import latent_space

    assert groups(pd.DataFrame(latent_space(2, lost=(9.0, 0.04, -0.5)))).startswith(
        "Hardly used, below 0.1 dB at every level: z2, z3. Most"
    )
    assert groups(pd.DataFrame(latent_space(2))[:0]) == ""


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


def test_a_real_series_says_why_a_measure_is_missing(tmp_path, monkeypatch):
    import planted_experiment

    def real(*arguments):
        return evaluation(*arguments).assign(frc_px=float("nan"), line_f1=float("nan"))

    def with_reasons(table):
        frame = pa.Table.from_pandas(table, preserve_index=False)
        reasons = {"frc_px": "FRC needs the truth.", "line_f1": "Line F1 needs the truth."}
        buffer = io.BytesIO()
        pq.write_table(frame.replace_schema_metadata({"refused": json.dumps(reasons)}), buffer)
        return buffer.getvalue()

    monkeypatch.setattr(planted_experiment, "evaluation", real)
    monkeypatch.setattr(planted_experiment, "_parquet", with_reasons)
    name = plant(tmp_path, T=2, num_fields=4, score_against="frame")
    confirmation = read_confirmation(tmp_path, name)
    assert set(read_refused(tmp_path, confirmation)) == {"frc_px", "line_f1"}
    text = Page(write_report(tmp_path, name).read_text(encoding="utf-8")).text
    assert "– a 1.0 – b" in text and "a FRC needs the truth. b Line F1 needs the truth." in text


def test_evaluations_that_did_not_measure_the_groups_make_a_report_without(tmp_path, monkeypatch):
    import planted_experiment

    monkeypatch.setattr(planted_experiment, "latent_space", lambda T: [])
    page = write_report(tmp_path, plant(tmp_path, T=2, num_fields=4))
    text = Page(page.read_text(encoding="utf-8")).text
    assert "Can the latents carry the loop?" not in text and "The gate" in text
    assert not (page.parent / "figures" / "latent_space.png").exists()


def test_acceptance_knows_what_holds_and_what_falls_short(written):
    root, _, _ = written
    confirmation = read_confirmation(root, "planted-quickstart")
    table, one_step = read_trajectories(root, confirmation), read_one_step_errors(root, confirmation)
    facts = acceptance(table, one_step)
    assert len(facts) == 8 and all(fact.holds for fact in facts)
    assert [fact.needed for fact in facts if "NAFNet" in fact.text] == ["≥ -0.5 dB"]
    table.loc[table["variant"] == "unet", "psnr_ri"] -= 3
    one_step.loc[one_step["degrader"] == "anchored", "error"] += 1
    short = [fact.text for fact in acceptance(table, one_step) if not fact.holds]
    assert short == ["The UNet gains over the input", "One step of G from the true z₀, mean over the steps"]


def test_a_blind_degrader_that_was_chosen_is_called_blind(written):
    root, _, _ = written
    confirmation = read_confirmation(root, "planted-quickstart")
    one_step = read_one_step_errors(root, confirmation)
    assert {"blind", "degrader"} <= set(one_step["degrader"]), "another one was chosen, and blind is a control"
    names = read_trajectories(root, confirmation)
    for missing in ("blind", "leave", "anchored"):
        (fact,) = acceptance(names, one_step[one_step["degrader"] != missing])[-1:]
        assert not fact.holds and f"no {missing}" in fact.value
    (fact,) = acceptance(names, one_step)[-1:]
    assert (
        fact.holds and fact.value.startswith("anchored 0.") and len(fact.value.split(",")[0]) == len("anchored 0.123")
    )


def test_the_sources_form_is_named_where_it_was_chosen(tmp_path, monkeypatch):
    import planted_experiment

    planted = planted_experiment._one_step
    monkeypatch.setattr(
        planted_experiment, "_one_step", lambda *args: [row for row in planted(*args) if row["degrader"] != "blind"]
    )
    chosen = {"degrader": {"number": 2, "value": 25.5, "config": {"anchor": "none"}, "params": {}}}
    name = plant(tmp_path, T=2, num_fields=4, chosen=chosen)
    one_step = read_one_step_errors(tmp_path, read_confirmation(tmp_path, name))
    assert "blind" in set(one_step["degrader"]) and "degrader" not in set(one_step["degrader"])
    text = Page(write_report(tmp_path, name).read_text(encoding="utf-8")).text
    assert "with the degrader that the search chose, blind (the source's form)" in text and "blind 0." in text


def test_loops_that_diverged_and_settings_are_said(tmp_path):
    name = plant(tmp_path, T=2, num_fields=4, variants={**ENDS, "residual": -40.0})
    text = Page(write_report(tmp_path, name).read_text(encoding="utf-8")).text
    assert "Diverged, ending more than 10 dB below the input: residual." in text
    assert "variant combine_z, alpha (kind power, exponent 2)" in text
    assert "With brightness and contrast forgiven, it is" in text


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


def test_one_step_one_seed_and_a_loop_that_diverged_still_make_a_report(tmp_path, monkeypatch):
    import planted_experiment

    def diverged(*arguments):
        table = evaluation(*arguments)
        table.loc[table["variant"] == "residual", ["psnr", "psnr_ri"]] = [-float("inf"), float("nan")]
        table.loc[table["variant"] == "identity", ["psnr", "psnr_ri"]] = -300.0
        return table

    monkeypatch.setattr(planted_experiment, "evaluation", diverged)
    page = write_report(tmp_path, plant(tmp_path, seeds=(1,), T=1, num_fields=2))
    gap = pd.read_csv(page.parent / "gap.csv")
    assert set(gap["verdict"]) == {"undecided"} and gap.loc[gap["variant"] == "residual", "gap"].isna().all()
    assert "residual" in gap_table(gap, 0)
