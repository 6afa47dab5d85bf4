"""`fetch`: an experiment's report, tables and chosen weights, from a cluster's storage to this machine."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dehazing.pipeline.store import POINTER, writing
from studies import asking
from studies.contents import FETCHED, Contents, contents_of
from studies.head import Head, head_of, last, prepared
from studies.on_head import answer, jobs_of
from studies.pruning import size

MARK = "contents: "  # of the line by which the head tells


def add_fetch(parser: argparse.ArgumentParser) -> None:
    """Options of `fetch`."""
    parser.add_argument(
        "--cluster", type=Path, metavar="FILE", help="YAML that `ray up` was given; default: this machine"
    )
    parser.add_argument("--storage", type=Path, required=True, metavar="PATH", help="that submit was given")
    parser.add_argument("--experiment", metavar="NAME", help="default: the only one that is confirmed there")
    parser.add_argument("--to", type=Path, default=Path("results"), metavar="FOLDER", help="default: results/")
    parser.add_argument("--every-seed", action="store_true", help="weights of every seed, not of the first alone")
    parser.add_argument("--list", action="store_true", help=argparse.SUPPRESS)  # what the head is asked
    parser.add_argument("--verbose", action="store_true", help="tracebacks")


def fetch(arguments: argparse.Namespace) -> int:
    """Bring what is not here yet, and say where the report is and how its models are used."""
    if arguments.list:
        print(f"{MARK}{json.dumps(asdict(_there(arguments)))}")
        return 0
    to = arguments.to.expanduser().resolve()
    if shutil.which("rsync") is None:
        raise ValueError("fetch needs rsync, as `ray up` does, but this machine has none.")
    head, name = None, None
    if arguments.cluster is None:
        contents = _there(arguments)
        origin = contents.root
    else:
        file = arguments.cluster.expanduser()
        name = prepared(file)["cluster_name"]
        contents, head = _asked(file, arguments), head_of(file)
        origin = f"{head.place}:{contents.root}"
    claim(to, contents.experiment, {"cluster": name, "storage": contents.root})
    bring(contents, to, head)
    num = len(contents.files) + len(contents.stages)
    print(f"fetched  {contents.experiment} from {origin}: {num} files, {size(contents.num_bytes)}")
    print(f"report   {to / contents.experiment / 'report' / 'index.html'}")
    print(
        f"restore  python -m studies restore --storage {arguments.to} --experiment {contents.experiment} "
        "--model unet --out FOLDER IMAGE"
    )
    return 0


def _there(arguments: argparse.Namespace) -> Contents:
    root = arguments.storage.expanduser().resolve()
    name = asking.confirmed_experiment(root, arguments.experiment)
    return contents_of(root, name, arguments.every_seed)


def _asked(file: Path, arguments: argparse.Namespace) -> Contents:
    """What the head has, as its own `fetch --list` tells."""
    if not arguments.storage.is_absolute():
        raise ValueError(
            "With --cluster, --storage must be the folder that submit was given, an absolute path, but is "
            f"{arguments.storage}."
        )
    words = ["fetch", "--list", "--storage", str(arguments.storage)]
    words += ["--experiment", arguments.experiment] if arguments.experiment else []
    words += ["--every-seed"] if arguments.every_seed else []
    with jobs_of(file) as client:
        return told(answer(client, words))


def told(said: str) -> Contents:
    """The contents in what a head said; ValueError where it told none."""
    for line in said.splitlines():
        if line.startswith(MARK):
            return Contents(**json.loads(line.removeprefix(MARK)))
    raise ValueError(f"The head must tell what there is to fetch, but says: {last(said)}")


def claim(to: Path, experiment: str, source: dict[str, Any]) -> None:
    """Note where an experiment at home is from; ValueError where the name stands for another one there."""
    if (to / POINTER).exists():
        raise ValueError(
            f"--to must be a folder that holds its stages itself, but those of {to} are in an object store."
        )
    note = to / experiment / FETCHED
    if note.is_file():
        before = json.loads(note.read_bytes())
        if before != source:
            raise ValueError(
                f"--to must be a folder without another {experiment}, but {to} has the one of {before['storage']}."
            )
    elif (to / experiment).exists():
        raise ValueError(f"--to must be a folder without another {experiment}, but {to} has one of its own.")
    with writing(to):
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(source))


def bring(contents: Contents, to: Path, head: Head | None) -> None:
    """Copy files of the head, or of this machine without one; the manifests last, as whoever reads trusts them."""
    copy(contents.store, contents.stages, to, head)
    copy(contents.store, contents.manifests, to, head)
    copy(contents.root, contents.files, to, head)


def copy(folder: str, names: list[str], to: Path, head: Head | None) -> None:
    """Files below a folder, to the same names below another; what is the same already is left. ValueError as rsync."""
    words = ["rsync", "--times", "--partial", "--from0", "--files-from=-"]
    if head is not None:
        words += ["--rsh", head.rsh()]
    source = f"{head.place}:{folder}/" if head is not None else f"{folder}/"
    done = subprocess.run([*words, source, f"{to}/"], input="\0".join(names).encode(), capture_output=True, check=False)
    if done.returncode:
        first = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise ValueError(f"What {source} holds must be copied to {to}, but {first or 'rsync said nothing'}")
