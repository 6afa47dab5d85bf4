"""`run`, `report` and `ui`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from studies import asking
from studies.directions import cautions_of_directions
from studies.driving import driving
from studies.investigation import Investigation
from studies.reading import study_names
from studies.tracking.database import NAME


def add_run(parser: argparse.ArgumentParser) -> None:
    """Options of `run`."""
    asking.add_names(parser)
    asking.add_investigation(parser)
    parser.add_argument("--retry-failed", action="store_true", help="try again what failed before")


def run(arguments: argparse.Namespace) -> int:
    """Search the named studies and those they build on; with all of them also confirm and report."""
    with asking.investigation(arguments) as investigation, driving(investigation.root):
        investigation.recorded()  # so that what a study builds on is known, as far as it was chosen
        for caution in cautions_of_directions(investigation):
            investigation.progress.say(f"note: {caution}")
        investigation.prepare()
        try:
            investigation.search_all()
            _describe(investigation)
            page = None
            if set(study_names()) <= set(investigation.studies):
                from studies.conclusion import conclude

                page = conclude(investigation)
        except RuntimeError as error:
            investigation.failures.append(str(error))
            page = None
        investigation.deliver()
        if page is not None:
            print(_table(page.parent))
            print(
                f"\nreport  {page}\ntables  {page.parent}\nMLflow  python -m studies ui --storage {arguments.storage}"
            )
        for failure in investigation.failures:
            print(failure, file=sys.stderr)
        return 1 if investigation.failures else 0


def _describe(investigation: Investigation) -> None:
    """Give the experiment its description in MLflow, where MLflow was told anything at all."""
    searched = next(reversed(investigation.addresses), None)
    if "tracker" not in vars(investigation) or searched is None:
        return
    from studies.tracking.notes import experiment_note

    questions = {name: study.question for name, study in investigation.studies.items()}
    page = investigation.root / investigation.experiment / "report" / "index.html"
    note = experiment_note(investigation.dataset_path.stem, investigation.scale_name, questions, page)
    investigation.tracker.about(investigation.key(investigation.studies[searched]), *note)


def add_report(parser: argparse.ArgumentParser) -> None:
    """Options of `report`."""
    asking.add_experiment(parser)


def report(arguments: argparse.Namespace) -> int:
    """Write an experiment's report again from what it left in the results folder, and put it into MLflow again."""
    from analysis.report import write_report
    from studies.tracking.records import track_again

    root = arguments.storage.expanduser().resolve()
    name = asking.confirmed_experiment(root, arguments.experiment)
    page = write_report(root, name)
    folder = page if page.is_dir() else page.parent
    missing = track_again(root, name)
    if missing:
        print(missing, file=sys.stderr)
    print(_table(folder))
    print(f"\nreport  {folder / 'index.html'}")
    return 0


def add_ui(parser: argparse.ArgumentParser) -> None:
    """Options of `ui`."""
    parser.add_argument("--storage", type=Path, default=Path("results"), metavar="PATH", help="default: results/")
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--cluster", type=Path, metavar="FILE", help="a cluster's pages: MLflow and Ray's dashboard")


def ui(arguments: argparse.Namespace) -> int:
    """Serve MLflow's pages on this machine alone, until Ctrl-C; with --cluster those of its head, through SSH."""
    if arguments.cluster:
        from studies.pages import serve_pages

        return serve_pages(arguments.cluster.expanduser())
    root = arguments.storage.expanduser().resolve()
    address = os.environ.get("MLFLOW_TRACKING_URI")
    if address and address.startswith("http"):
        print(f"MLFLOW_TRACKING_URI names a server: open {address}")
        return 0
    if not (root / NAME).is_file():
        raise ValueError(f"{root} holds no mlflow.db; `python -m studies run all` makes one.")
    database = address or f"sqlite:///{root / NAME}"
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "ui",
        "--backend-store-uri",
        database,
        "--host",
        "127.0.0.1",
        "--port",
        str(arguments.port),
        "--workers",
        "1",
    ]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    print(f"http://127.0.0.1:{arguments.port} (Ctrl-C ends it)", flush=True)
    try:
        return subprocess.run(command, env=environment, cwd=root, check=False).returncode
    except KeyboardInterrupt:
        return 0


def _table(folder: Path) -> str:
    """The gap table of a report's folder, and whether the latents can carry the loop, as text."""
    import pandas as pd

    from analysis.gate import gate
    from analysis.report import gap_table
    from analysis.trajectories import read_confirmation

    gap, trajectories = pd.read_csv(folder / "gap.csv"), pd.read_parquet(folder / "trajectories.parquet")
    confirmation = read_confirmation(folder.parent.parent, folder.parent.name)
    table = gap_table(gap, int(gap["step"].max()), trajectories)
    return f"{table}\n\n{gate(trajectories, confirmation['score_against']).text}"
