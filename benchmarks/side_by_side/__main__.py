"""UNet and HDN beside CAREamics' own: the same data set, batches, steps and threads, trained in turns.

    python -m benchmarks.side_by_side [--steps 1500] [--seeds 3] [--methods unet,hdn] [--levels all|T] [--env FOLDER]
                                      [--out FILE.json] [--check]

CAREamics runs in an environment of its own (`--env`, made on the first run, about 5 GB). See README.md in benchmarks/.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import environment, settings
from benchmarks.side_by_side.comparison import SEARCH_SEED, Comparison, Plan, export
from benchmarks.side_by_side.side import Side
from benchmarks.side_by_side.table import broken, report
from dehazing.data.dataset import make_series, read_dataset, with_scale
from studies.reading import FOLDER

MODULES = {"ours": "benchmarks.side_by_side.our_side", "careamics": "benchmarks.side_by_side.careamics_side"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print; with `--check` the exit code is 1 where a bound is broken."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.side_by_side", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--steps", type=int, default=1500, metavar="N", help="of training; default: %(default)s")
    parser.add_argument("--search-steps", type=int, metavar="N", help="for each setting tried; default: a fifth")
    parser.add_argument("--seeds", type=int, default=3, metavar="N")
    parser.add_argument("--methods", default="unet,hdn", help="default: %(default)s")
    parser.add_argument("--levels", default="all", choices=("all", "T"), help="that networks are trained on")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of each side; default: %(default)s")
    parser.add_argument("--dataset", type=Path, default=FOLDER / "datasets" / "lines.yaml", metavar="FILE")
    parser.add_argument("--env", type=Path, default=environment.default_folder(), metavar="FOLDER")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="the figures, for the record")
    parser.add_argument("--check", action="store_true", help="exit code 1 where a bound is broken")
    asked = parser.parse_args(arguments)
    methods = asked.methods.split(",")
    if unknown := sorted(set(methods) - set(settings.METHODS)):
        parser.error(f"--methods must be of {', '.join(settings.METHODS)}, but names {', '.join(unknown)}.")
    if min(asked.steps, asked.seeds, asked.threads, asked.search_steps or 1) < 1:
        parser.error("--steps, --search-steps, --seeds and --threads must be positive.")
    plan = Plan(
        num_steps=asked.steps,
        num_search_steps=asked.search_steps or max(1, asked.steps // 5),
        seeds=tuple(range(1, asked.seeds + 1)),
        levels=asked.levels,
    )
    pythons = {"ours": Path(sys.executable), "careamics": environment.ensure(asked.env.expanduser().resolve())}
    record = compare(asked.dataset, plan, methods, pythons, asked.threads, out=asked.out)
    print(report(record))
    for sentence in broken(record):
        print(f"not as asked for: {sentence}", file=sys.stderr)
    return 1 if asked.check and broken(record) else 0


def compare(
    dataset: Path,
    plan: Plan,
    methods: Sequence[str],
    pythons: dict[str, Path],
    num_threads: int,
    modules: dict[str, str] = MODULES,
    out: Path | None = None,
    **overrides: Any,
) -> dict[str, Any]:
    """All figures of one run, also in `out` after each method.

    pythons, modules: of each side. overrides: of the data set.
    """
    series = make_series(with_scale(read_dataset(dataset), overrides))
    record: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": platform.processor() or platform.machine(),
        "requirements": environment.REQUIREMENTS,
        "threads": num_threads,
        "steps": plan.num_steps,
        "search_steps": plan.num_search_steps,
        "levels": plan.levels,
        "batch": plan.batch,
        "patch_px": plan.patch_px,
        "T": series.T,
        "methods": {},
    }
    with tempfile.TemporaryDirectory() as aside:
        folder = Path(aside)
        export(series, plan, folder)
        for method in methods:
            # a process anew for each method, so that neither inherits the other's memory
            with (
                Side("ours", pythons["ours"], modules["ours"], num_threads, folder / "ours.log") as ours,
                Side(
                    "careamics", pythons["careamics"], modules["careamics"], num_threads, folder / "careamics.log"
                ) as theirs,
            ):
                sides = {"ours": ours, "careamics": theirs}
                record["methods"][method] = _of_method(Comparison(series, plan, folder, sides), method)
            if out is not None:
                out.write_text(json.dumps(record, indent=1) + "\n")
    return record


def _of_method(comparison: Comparison, method: str) -> dict[str, Any]:
    sizes = comparison.begin("ours", method, {}, SEARCH_SEED, 1)
    tried = settings.tried(method, sizes["num_parameters"])
    found = comparison.chosen(method, tried)
    seeds = [comparison.confirmed(method, found, seed) for seed in comparison.plan.seeds]
    return {
        name: {**found[name], "num_parameters": seeds[0][name]["num_parameters"], "seeds": [s[name] for s in seeds]}
        for name in comparison.sides
    }


if __name__ == "__main__":
    sys.exit(main())
