"""MLflow's descriptions say what was asked, what came out, and how to compare."""

from __future__ import annotations

from dataclasses import replace

import optuna
from told_experiment import SEARCH, STUDY, searched

from studies.tracking.notes import MOST, confirmation_note, experiment_note, report_sentences, study_note

PAGE = """<html><head><title>no</title></head><body><p class="where">no</p>
<p class="headline">direct is 6.1&nbsp;dB below
the UNet.</p><p id="gate">no</p><p id="blur">And blur: it misses 9 % (trails). <a href="#x">How</a></p>
<p id="because">74 % enters through G. <a href="#x">How this is found</a>
</p><p>no</p>"""
BLUR = "And blur: it misses 9 % (trails)."


def test_a_study_says_its_question_its_best_trial_and_which_trials_to_compare():
    study = searched()
    text, links = study_note(STUDY, study.trials, SEARCH)
    best = max((trial for trial in study.trials if trial.value is not None), key=lambda trial: trial.value)
    assert "**Question.** Which degrader?" in text
    assert f"[degrader {best.number}](@best): `val/psnr_direct` {best.value:.4g}" in text
    assert f"| `lambda_cyc` | {best.params['lambda_cyc']:.4g} |" in text
    assert f"| `nuisance/lr` | {best.params['lr']:.4g} |" in text
    assert links["best"].keys == [f"{SEARCH}/{best.number}"]
    assert links["trials"].keys[0] == f"{SEARCH}/{best.number}" and len(links["trials"].keys) == 8, (
        "not the stopped one"
    )
    assert "8 complete, 1 pruned" in text


def test_a_studys_view_has_what_it_asks_about_and_what_every_trial_has():
    study = searched()
    text, links = study_note(STUDY, study.trials, SEARCH)
    view = links["view"].view
    assert links["view"].keys == [SEARCH] and "[The saved view `degrader`](@view)" in text
    assert "lambda_cyc" in view.params and view.metrics == ["val/psnr_direct"] and not view.is_ascending
    assert not [name for name in view.params if name.startswith("nuisance/")]
    complete = [trial.params for trial in study.trials if trial.value is not None]
    assert all(len({str(params[name]) for params in complete}) > 1 for name in view.params)
    study.add_trial(optuna.trial.create_trial(value=1.0))  # of before: it has none of the parameters
    assert "view" not in study_note(STUDY, study.trials, SEARCH)[1]


def test_of_many_trials_the_best_are_compared_and_a_study_that_begins_has_its_question_alone():
    study = optuna.create_study(direction="minimize")
    assert study_note(STUDY, study.trials, SEARCH) == ("**Question.** Which degrader?\n\nNo trial has begun.", {})
    for value in range(MOST + 20):
        study.add_trial(optuna.trial.create_trial(value=float(value)))
    lower = replace(STUDY, objective=(replace(STUDY.objective[0], mode="min"),))
    text, links = study_note(lower, study.trials, SEARCH)
    assert f"the {MOST} best of {MOST + 20} trials" in text and "lower is better" in text
    assert links["trials"].keys == [f"{SEARCH}/{number}" for number in range(MOST)]


def test_an_experiment_says_what_the_report_says_once_there_is_one(tmp_path):
    page = tmp_path / "index.html"
    text, links = experiment_note("lines", "smoke", {"unet": "How well?"}, page)
    assert "- `unet`: How well?" in text and not links and report_sentences(page) == []
    page.write_text(PAGE, encoding="utf-8")
    assert report_sentences(page) == ["direct is 6.1 dB below the UNet.", BLUR, "74 % enters through G."]
    text, links = experiment_note("lines", "smoke", {}, page)
    first = text.split("\n\n")[0]
    assert first == f"**`lines` at the scale `smoke`.** direct is 6.1 dB below the UNet. {BLUR} 74 % enters through G."
    assert links["report"].keys == ["report"] and "(@report)" in text and str(page) in text


def test_a_confirmation_overlays_baselines_and_loops_on_one_metric():
    text, links = confirmation_note("confirmation/ab", ["unet"], ["direct"])
    assert links["steps"].keys == ["confirmation/ab/variants/unet", "confirmation/ab/variants/direct"]
    assert links["steps"].metric == "test/psnr" and "`unet`, `direct`" in text
    assert all(f"(@{name})" in text for name in links)
    assert "The run of every loop from T has pictures" in text, "those from lower levels have none"
