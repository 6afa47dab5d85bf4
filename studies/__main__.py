"""python -m studies COMMAND: search, confirm and report, look at what was done, use it, and what goes with it."""

from __future__ import annotations

import argparse
import importlib
import os
import shlex
import sys
from collections.abc import Sequence
from typing import NoReturn

from dehazing.strict import nearest

# command → (its module, one line of help); modules are imported when they are called, so that `list` is quick
COMMANDS = {
    "list": ("studies.looking", "the studies, their questions and budgets"),
    "plan": ("studies.planning.plan", "what `run` would do and cost; starts nothing"),
    "status": ("studies.looking", "how far the studies are, here or on a cluster"),
    "run": ("studies.running", "search, confirm and report; goes on where it stopped"),
    "submit": ("studies.submitting", "`run` on a cluster, as a job on its head; follows it"),
    "fetch": ("studies.fetching", "an experiment's report, tables and chosen weights, from a cluster to here"),
    "report": ("studies.running", "write the report of an experiment again"),
    "table": ("studies.tables", "a table of an experiment as CSV or parquet"),
    "compare": ("studies.tables", "two runs side by side: settings, metrics, the paired gap"),
    "ui": ("studies.running", "MLflow's pages on the results folder, or of a cluster"),
    "rerun": ("studies.rerunning", "repeat one trial from its record, and compare"),
    "prune": ("studies.pruning", "drop from the store what no search and no confirmation reaches; says it first"),
    "restore": ("studies.restoring", "apply a trained model or variant to images of your own"),
    "simulate": ("studies.simulating", "write a dataset as OME-TIFF files that the reader reads"),
    "prepare-cluster": (
        "studies.cluster_account",
        "make what must be there before the first `ray up`: token, bucket …",
    ),
    "check-cluster": ("studies.cluster_file", "whether a file for `ray up` is right; needs no network"),
}


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message[:1].upper()}{message[1:]}; see `python -m studies {self.prog.split()[-1]} --help`.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 fine, 1 trials failed, 2 the user's mistake, 130 interrupted."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(words)
    except ValueError as error:
        if "--verbose" in words:
            raise
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # `… | head`: whoever read has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        if "--verbose" in words:
            raise
        where = f": {error.filename}" if error.filename else ""
        print(f"The system refused what it was asked for: {error.strerror or error}{where}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        command = shlex.join(["python", "-m", "studies", *words])
        print(f"\nStopped. Nothing that was finished is lost: `{command}` goes on from here.", file=sys.stderr)
        return 130


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(f"python -m studies {' | '.join(COMMANDS)}\n")
        for name, (_, text) in COMMANDS.items():
            print(f"  {name:<16} {text}")
        print("\n`python -m studies COMMAND --help` says what each takes.")
        return 0
    name = words[0]
    if name not in COMMANDS:
        raise ValueError(f"There is no command `{name}`; the nearest is `{nearest(name, COMMANDS)}`.")
    module, text = COMMANDS[name]
    command = importlib.import_module(module)
    parser = Parser(prog=f"python -m studies {name}", description=text, allow_abbrev=False)
    function = name.replace("-", "_")
    getattr(command, f"add_{function}")(parser)
    parser.set_defaults(words=words[1:])
    return getattr(command, function)(parser.parse_args(words[1:]))


if __name__ == "__main__":
    sys.exit(main())
