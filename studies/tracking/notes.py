"""What MLflow's pages say in words, as Markdown: of an experiment, a study, a confirmation and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from studies import journal
from studies.spaces import NUISANCE, tracked_params
from studies.study import Study
from studies.tracking.tracker import Link
from studies.tracking.views import View

MOST = 60  # runs side by side on one page, and in one address
SENTENCES = ("headline", "blur", "because")  # class or id of the paragraphs of the report that say what came out


def study_note(study: Study, trials: Sequence[FrozenTrial], search: str) -> tuple[str, dict[str, Link]]:
    """The question, the best trial, how to compare the trials; search: the name that the trials' runs begin with."""
    said, links = [f"**Question.** {study.question}"], dict[str, Link]()
    chosen, complete = journal.chosen(study, trials), journal.feasible(trials)
    if chosen is not None:
        links["best"] = Link([f"{search}/{chosen.number}"])
        values = zip(study.objective, chosen.values, strict=True)
        reached = ", ".join(f"`{one.metric}` {value:.4g}" for one, value in values)
        said.append(f"**Best trial.** [{study.name} {chosen.number}](@best): {reached}.")
        said.append(_table(tracked_params(study, chosen.params)))
    if len(complete) > 1:
        sign = -1 if study.objective[0].mode == "max" else 1
        best = sorted(complete, key=lambda trial: (sign * trial.values[0], trial.number))[:MOST]
        links["trials"] = Link([f"{search}/{trial.number}" for trial in best])
        which = f"the {len(best)} best of {len(complete)} trials" if len(best) < len(complete) else "the trials"
        view, how = _view(study, complete), "**How to compare.** "
        if view.params:
            links["view"] = Link([search], view=view)
            how += (
                f"[The saved view `{view.name}`](@view) has the trials in parallel coordinates, over what the study "
                f"asks about and what it is judged by: {_judged_by(study)}. "
            )
        said.append(f"{how}[Compare {which}](@trials) side by side; that page chooses its axes itself: {_axes(study)}")
    states = {state: sum(trial.state == state for trial in trials) for state in TrialState}
    counted = ", ".join(f"{num} {state.name.lower()}" for state, num in states.items() if num)
    return "\n\n".join([*said, f"Trials: {counted}." if counted else "No trial has begun."]), links


def experiment_note(title: str, scale: str, questions: Mapping[str, str], page: Path) -> tuple[str, dict[str, Link]]:
    """What is asked, study by study, what came out so far, and where to read it; page: the report's, perhaps."""
    sentences, links = report_sentences(page), dict[str, Link]()
    came_out = " ".join(sentences) or "Where does iterative dehazing trail the one-shot baselines, and why?"
    said = [f"**`{title}` at the scale `{scale}`.** {came_out}"]  # MLflow's pages show the first paragraph, folded
    if sentences:
        links["report"] = Link(["report"])
        said.append(f"**The report** is among the artifacts of the run [report](@report), and in `{page}`.")
    if questions:
        said.append("\n".join(["**The studies**, each a run with its trials below it:", "", *_listed(questions)]))
    said.append(
        f"**How to compare.** Every study has a saved view, in the menu above its table of runs and in the description "
        "of its run: its trials in parallel coordinates over what it asks about. Parameters called "
        f"`{NUISANCE}…` were searched so that the others are compared at their best. Below the run `confirmation`, "
        "loops and baselines have `test/psnr` on one axis, the step of the loop."
    )
    return "\n\n".join(said), links


def confirmation_note(key: str, one_shot: Sequence[str], loops: Sequence[str]) -> tuple[str, dict[str, Link]]:
    """How to overlay. key: that the confirmation's runs begin with. one_shot, loops: names of those to begin with."""
    names = [*one_shot, *loops]
    links = {"steps": Link([f"{key}/variants/{name}" for name in names], "test/psnr")}
    links |= {"runs": Link([f"{key}/variants/{name}" for name in names]), "report": Link(["report"])}
    return (
        "What the searches chose, trained again on fresh seeds and scored once on the test fields.\n\n"
        f"**How to compare.** [PSNR at every step of the loop](@steps) of {', '.join(f'`{name}`' for name in names)}, "
        "or [everything about them](@runs). A method of one step is a constant line: its prediction from the haziest "
        "level; `from_level/…` has what it predicts from every level, with the level as the step. The run of every "
        "loop from T has pictures among its artifacts. Loops that begin lower (`…_from_3`, parameter `start`) have "
        "runs of their own: they stand against the baselines at that level, not beside the loops from T.\n\n"
        "[The report](@report)"
    ), links


def report_note(page: Path) -> tuple[str, dict[str, Link]]:
    """What the report says at its top, and where it is."""
    said = report_sentences(page)
    said.append("The report and its tables are among the artifacts of this run, in `report`; also in " + f"`{page}`.")
    return "\n\n".join(said), {}


def report_sentences(page: Path) -> list[str]:
    """What a report says at its top; nothing where there is no such page."""
    reader = _Top()
    if page.is_file():
        reader.feed(page.read_text(encoding="utf-8"))
    return [" ".join(text.split()) for text in reader.texts if text.strip()]


class _Top(HTMLParser):
    """Reads the paragraphs that SENTENCES name, but for their links."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._inside = self._in_link = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "p":
            self._inside = named.get("class") in SENTENCES or named.get("id") in SENTENCES
            self.texts += [""] if self._inside else []
        self._in_link = self._in_link or tag == "a"

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "p"
        self._in_link = self._in_link and tag != "a"

    def handle_data(self, data: str) -> None:
        if self._inside and not self._in_link:
            self.texts[-1] += data


def _view(study: Study, complete: Sequence[FrozenTrial]) -> View:
    """Axes: what is asked about and was tried at several values; a trial that lacks one would have no line."""
    shown = [tracked_params(study, trial.params) for trial in complete]
    asked = [name for name in shown[0] if not name.startswith(NUISANCE) and all(name in one for one in shown)]
    varied = [name for name in asked if len({str(one[name]) for one in shown}) > 1]
    metrics = [one.metric for one in study.objective]
    return View(study.name, varied, metrics, is_ascending=study.objective[0].mode == "min")


def _judged_by(study: Study) -> str:
    return ", ".join(
        f"`{one.metric}` ({'higher' if one.mode == 'max' else 'lower'} is better)" for one in study.objective
    )


def _axes(study: Study) -> str:
    return (
        f"as metric choose {_judged_by(study)}; as parameters those that the study asks about, which have plain names. "
        f"Parameters called `{NUISANCE}…` were searched, too, so that the others are compared at their best."
    )


def _table(params: Mapping[str, Any]) -> str:
    shown = [
        f"| `{name}` | {value:.4g} |" if isinstance(value, float) else f"| `{name}` | {value} |"
        for name, value in params.items()
    ]
    return "\n".join(["| parameter | value |", "|---|---|", *shown])


def _listed(questions: Mapping[str, str]) -> list[str]:
    return [f"- `{name}`: {question}" for name, question in questions.items()]
