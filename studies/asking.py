"""What every command is told: which studies, on which dataset, at which scale, into which folder."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from dehazing.data.dataset import DatasetConfig, read_dataset, with_scale
from dehazing.strict import nearest
from studies.confirm import check_names
from studies.executions import check
from studies.investigation import Investigation
from studies.own_files import own_studies
from studies.reading import FOLDER, read_studies, study_names
from studies.scale import read_scale
from studies.settings import parse

DATASET = FOLDER / "datasets" / "lines.yaml"
TAKEN = ("stages", "optuna", "tune", "mlartifacts", "mlflow.db", "datasets", "sending")  # of the results folder


def add_names(parser: argparse.ArgumentParser) -> None:
    """Names of studies, or files of one's own."""
    parser.add_argument(
        "names", nargs="*", default=["all"], metavar="NAME", help="studies or YAML files of your own; default: all"
    )


def add_investigation(parser: argparse.ArgumentParser) -> None:
    """The options that make an investigation."""
    parser.add_argument("--dataset", type=Path, default=DATASET, metavar="FILE", help="YAML of a dataset")
    parser.add_argument(
        "--scale", default="quickstart", help="smoke, quickstart (default), laptop, workstation, cluster"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="settings",
        help="e.g. degrader.space.lambda_cyc.high=50, hvae.num_trials=8, dataset.KEY=…, scale.KEY=…",
    )
    add_experiment(parser)
    parser.add_argument(
        "--store",
        metavar="URL",
        help="object store of the stages: s3://bucket/folder; default: the results folder",
    )
    parser.add_argument("--verbose", action="store_true", help="the logs of Ray too, and tracebacks")


def add_experiment(parser: argparse.ArgumentParser) -> None:
    """Where results are, and under which name."""
    parser.add_argument("--storage", type=Path, default=Path("results"), metavar="PATH", help="default: results/")
    parser.add_argument("--experiment", metavar="NAME", help="default: the dataset's name and the scale")


def confirmed_experiment(root: Path, asked: str | None) -> str:
    """The asked one of a results folder, or the only one; ValueError where it is not there, or not confirmed."""
    found = sorted(path.parent.name for path in root.glob("*/confirm.json"))
    name = asked or (found[0] if len(found) == 1 else None)
    if not found:
        raise ValueError(f"{root} holds no confirmed experiment; `python -m studies run all` makes one.")
    if name is None:
        raise ValueError(f"{root} holds several experiments, choose one by --experiment: {', '.join(found)}.")
    if name not in found:
        raise ValueError(f"{root} holds no confirmed experiment `{name}`; the nearest is `{nearest(name, found)}`.")
    return name


def check_storage(root: Path) -> None:
    """ValueError where there can be no results folder; what is to be made is not made yet."""
    root = root.expanduser().resolve()
    place = next(folder for folder in (root, *root.parents) if os.access(folder, os.F_OK))
    if not place.is_dir():
        raise ValueError(f"--storage must be writable: a folder, or where one can be made, but {place} is a file.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ValueError(f"--storage must be writable, but {place} is not.")


def dataset_of(arguments: argparse.Namespace) -> DatasetConfig:
    """The dataset that the arguments name, with the settings of its scale and of the command line; checked."""
    settings = _settings(arguments)
    scale = read_scale(arguments.scale, settings.get("scale", {}))
    config = read_dataset(arguments.dataset.expanduser().resolve())
    return with_scale(config, {**scale.dataset.get(config.kind, {}), **settings.get("dataset", {})})


def _settings(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    return parse(arguments.settings, [*study_names(), *own_studies(arguments.names), "dataset", "scale"])


def investigation(arguments: argparse.Namespace) -> Investigation:
    """The investigation that the arguments ask for, every key, range and setting of it checked."""
    check_storage(arguments.storage)
    settings = _settings(arguments)
    scale = read_scale(arguments.scale, settings.pop("scale", {}))
    settings.pop("dataset", {})
    studies = read_studies(arguments.names, arguments.scale, settings)
    for study in studies.values():
        check(study)
    check_names(studies)
    path = arguments.dataset.expanduser().resolve()
    config = dataset_of(arguments)
    experiment = arguments.experiment or f"{path.stem}-{arguments.scale}"
    if experiment in TAKEN or os.sep in experiment or experiment.startswith("."):
        raise ValueError(f"--experiment must be a plain name other than {', '.join(TAKEN)}, but is {experiment!r}.")
    return Investigation(
        root=arguments.storage,
        experiment=experiment,
        dataset_path=path,
        dataset=config,
        scale_name=arguments.scale,
        scale=scale,
        studies=studies,
        objects=arguments.store,
        retry_failed=getattr(arguments, "retry_failed", False),
        command=shlex.join(["python", "-m", "studies", *sys.argv[1:]]),
        verbose=arguments.verbose,
    )
