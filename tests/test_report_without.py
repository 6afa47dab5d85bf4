"""A report is made of what there is, and says what is not there."""

import io
import json

import pandas as pd
import planted_experiment
import pyarrow as pa
import pyarrow.parquet as pq
from planted_experiment import ENDS, evaluation, plant
from report_page import Page

from analysis.report import gap_table, write_report
from analysis.trajectories import read_confirmation, read_one_step_errors, read_refused


def test_an_evaluation_without_samples_or_settings_still_makes_a_report(tmp_path):
    name = plant(tmp_path, T=2, num_fields=4, records=False)
    page = Page(write_report(tmp_path, name).read_text(encoding="utf-8"))
    assert page.tags.count("img") == 16 and "samples are worth" not in page.text
    assert "Pictures of the worst and the best field were not kept by this evaluation" in page.text


def test_an_evaluation_that_did_not_look_at_places_makes_a_report_without(tmp_path, monkeypatch):
    monkeypatch.setattr(planted_experiment, "on_places", lambda *_: {})
    page = write_report(tmp_path, plant(tmp_path, T=2, num_fields=4))
    text = Page(page.read_text(encoding="utf-8")).text
    assert "on structure or on background" not in text and "Fidelity against sharpness" in text
    assert not (page.parent / "place.csv").exists()


def test_evaluations_that_did_not_measure_the_groups_make_a_report_without(tmp_path, monkeypatch):
    monkeypatch.setattr(planted_experiment, "latent_space", lambda T: [])
    page = write_report(tmp_path, plant(tmp_path, T=2, num_fields=4))
    text = Page(page.read_text(encoding="utf-8")).text
    assert "Can the latents carry the loop?" not in text and "The gate" in text
    assert not (page.parent / "figures" / "latent_space.png").exists()


def test_real_series_of_one_field_say_so(tmp_path):
    name = plant(tmp_path, T=2, num_fields=4, regions_of_one_field=True, score_against="frame", notes=[])
    text = Page(write_report(tmp_path, name).read_text(encoding="utf-8")).text
    assert "4 test regions of one field, 2 seeds, scored against the acquired clean frame" in text
    assert "against the acquired clean frame (there is no noise-free truth)" in text
    assert "The gate" not in text and "Dec(E(x₀)) of the acquired frame lies +" in text
    assert "Fewer than three seeds decide nothing" in text and "Notes of the reader" not in text


def test_a_real_series_says_why_a_measure_is_missing(tmp_path, monkeypatch):
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


def test_the_sources_form_is_named_where_it_was_chosen(tmp_path, monkeypatch):
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


def test_one_step_one_seed_and_a_loop_that_diverged_still_make_a_report(tmp_path, monkeypatch):
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
