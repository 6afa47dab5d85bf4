"""The most memory that each stage holds at a scale, from a few steps of it, on the GPU where there is one.

    python -m benchmarks.placement [--scale quickstart] [--root PATH]

Every stage runs in a process of its own, as one of `plan`'s timed executions: the networks, patches and batches of the
scale, as many steps as take a moment, on the series of the scale (or a part of its fields, which is said).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from dehazing.pipeline.store import Store
from dehazing.stages import KINDS
from studies import asking
from studies.planning.expected import expected
from studies.planning.parameters import parameters_of
from studies.planning.rehearsal import Rehearsal

MIB, GB = 2**20, 1e9


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.placement", description=__doc__.split("\n")[0])
    parser.add_argument("--scale", default="quickstart")
    parser.add_argument("--root", type=Path, metavar="PATH", help="a folder to leave; default: aside")
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)  # in a process of its own
    asked = parser.parse_args(arguments)
    if asked.kind:
        print(json.dumps(measured(asked.scale, asked.kind, asked.root)))
        return 0
    with tempfile.TemporaryDirectory() as aside:
        root = asked.root or Path(aside)
        print(f"{'stage':<12}{'memory GB':>10}{'of a GPU GB':>13}   at the scale {asked.scale}")
        for kind in KINDS:
            words = ["--scale", asked.scale, "--kind", kind, "--root", str(root)]
            said = subprocess.run([sys.executable, "-m", __spec__.name, *words], stdout=subprocess.PIPE, check=True)
            memory = json.loads(said.stdout.splitlines()[-1])
            on_gpu = f"{memory['peak_gpu_memory'] / GB:.2f}" if "peak_gpu_memory" in memory else "-"
            print(f"{kind:<12}{memory['peak_memory'] / GB:>10.2f}{on_gpu:>13}", flush=True)
    return 0


def measured(scale: str, kind: str, root: Path) -> dict[str, int]:
    """What the first trial of the stage's study held at most; what it builds on is made before, with a step each."""
    parser = argparse.ArgumentParser()
    asking.add_names(parser)
    asking.add_investigation(parser)
    asked = asking.investigation(parser.parse_args(["all", "--scale", scale, "--storage", str(root / "none")]))
    parameters = {name: parameters_of(study) for name, study in asked.studies.items()}
    found = expected(asked, asked.recorded(), parameters)
    known = {address: e for one in found.values() for address, e in one.executions.items()}
    target = next(e for one in found.values() for e in one.targets if e.kind == kind)
    scratch = Store(root)
    torch.set_num_threads(asked.scale.num_cpus)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rehearsal = Rehearsal(scratch, asked.store, known, lambda _: device, lambda _: None)
    rehearsal.prepare(asked.dataset)
    before = {*scratch.addresses()}
    cost = rehearsal.cost(target)
    if cost.seconds is None:
        raise RuntimeError(f"{kind}: {cost.source}")
    made = [address for address in scratch.addresses() if address not in before and address.startswith(f"{kind}/")]
    records = [json.loads(scratch.read(address, "metrics.json"))["memory"] for address in made]
    return {name: max(record[name] for record in records) for name in records[0]}


if __name__ == "__main__":
    sys.exit(main())
