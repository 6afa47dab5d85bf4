"""Many configurations of the loop on one set of networks: all in one batch against one execution for each.

    python -m benchmarks.sweep [--configurations 200] [--alone 20] [--root FOLDER] [--out FILE.json]

Both in this process, which is warm, on the same 16 fields and the same briefly trained networks (their size is
quickstart's; how well they restore is of no matter here). One execution for each configuration is measured as
  - `nothing kept`: networks, latents and the baselines' scores anew, as an actor that starts every trial afresh;
  - `networks kept`: networks and encoded latents stay, the baselines are scored anew;
  - `all kept`: the baselines' scores stay, too: what then remains is the loop and its scores.
`--alone` of the configurations are measured so, in blocks before and after the batch: a systematic sample, at equal
distances in the order of their calls. (A small one may miss the few dear ones, the refinements: against the batch.)
The configurations are drawn from schedules, refinement counts and variants of the study `iterative` for quickstart
(`--space loops`), with moment matching as well, as it is shipped (`--space quickstart`), or from the whole search space
(`--space whole`: up to four refinements). The more there is to choose, the less is shared.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import torch

from benchmarks.prefixes import distinct_calls
from benchmarks.sweeps import own_store
from dehazing.data.dataset import read_dataset, with_scale
from dehazing.pipeline.execute import execute
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.series import ensure_series
from dehazing.pipeline.store import Store
from dehazing.pipeline.together import execute_together
from dehazing.stages import fields, iterative, loops
from dehazing.stages.configuration import Configuration
from dehazing.strict import from_mapping
from dehazing.sweep import NETWORKS, Operators
from search_spaces import iterative as search_space
from studies.executions import nested, space_of
from studies.reading import FOLDER, read_studies

FIELDS = {"train": 6, "validation": 16, "test": 1}
BRIEF = {"num_epochs": 1, "steps_per_epoch": 4}
UPSTREAMS = {
    "unet": (),
    "nafnet": (),
    "hdn": (),
    "hvae": (),
    "restorer": ("hvae",),
    "degrader": ("hvae", "restorer"),
}
SEED = 0
AT_LEAST, AT_MOST_DB = 5.0, 1e-3
HAZE_ALPHA = (0.0, 0.1, 0.3, 0.6, 1.0)  # any that is no end: which calls are distinct does not depend on it
T = len(HAZE_ALPHA) - 1  # of studies/datasets/lines.yaml
WAYS: dict[str, Callable[[], None]] = {  # what is dropped before each execution
    "nothing kept": fields.forget,
    "networks kept": fields.forget_scores,
    "all kept": lambda: None,
}


def made_upstreams(root: Path, **dataset: Any) -> tuple[str, dict[str, str]]:
    """The series and the networks, from the store at `root` or made there; (series, role → address)."""
    store = Store(root)
    config = with_scale(read_dataset(FOLDER / "datasets" / "lines.yaml"), {"num_fields": FIELDS, **dataset})
    series = ensure_series(config, store)
    made: dict[str, str] = {}
    for kind, roles in UPSTREAMS.items():
        execution = Execution(kind, BRIEF, series, SEED, {role: made[role] for role in roles})
        execute(execution, store)
        made[kind] = execution.address
    return series, made


def drawn(num: int, space: str = "loops") -> list[dict[str, Any]]:
    """So many distinct configurations, in the order of their draw. space: loops | quickstart | whole."""
    sampling = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=SEED))
    unmatched = {"iterative": {"space": {"match": "none"}, "points": []}} if space == "loops" else {}
    shipped = space_of(read_studies(["iterative"], "quickstart", unmatched)["iterative"])
    suggest = search_space.space if space == "whole" else shipped
    found: dict[str, dict[str, Any]] = {}
    while len(found) < num:
        trial = sampling.ask()
        suggest(trial)
        configuration = nested(trial.params)
        found.setdefault(read(configuration).key, configuration)
    return list(found.values())


def read(configuration: dict[str, Any]) -> Configuration:
    """What the stage makes of a suggestion."""
    return from_mapping(Configuration, configuration, "configuration")


def counts(configurations: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Distinct calls of R, G and P, by brute force."""
    loops_read = (read(one) for one in configurations)
    return distinct_calls((one.variant, one.degrader, "none", one.settings(T, HAZE_ALPHA)) for one in loops_read)


def sampled(configurations: Sequence[dict[str, Any]], num: int) -> list[int]:
    """Indices of a systematic sample by the number of calls, in random order."""
    by_calls = sorted(range(len(configurations)), key=lambda i: sum(counts([configurations[i]]).values()))
    chosen = [by_calls[int((k + 0.5) * len(by_calls) / num)] for k in range(num)]
    random.Random(SEED).shuffle(chosen)
    return chosen


def executions_of(configurations: Sequence[dict[str, Any]], series: str, upstreams: dict[str, str]) -> list[Execution]:
    """One execution for each configuration."""
    executions = []
    for configuration in configurations:
        config = {"configurations": [configuration]}
        roles = iterative.needs(from_mapping(iterative.Config, config, "the settings of iterative"))
        executions.append(Execution("iterative", config, series, SEED, {role: upstreams[role] for role in roles}))
    return executions


def compare(
    root: Path, num: int, num_alone: int, num_blocks: int = 4, space: str = "loops", **dataset: Any
) -> dict[str, Any]:
    """All figures of one run, see the module; the batch stands between two halves of the blocks."""
    series, upstreams = made_upstreams(root, **dataset)
    configurations = drawn(num, space)
    executions = executions_of(configurations, series, upstreams)
    chosen = [executions[i] for i in sampled(configurations, min(num_alone, num))]
    seconds, cpu_s = dict.fromkeys(WAYS, 0.0), dict.fromkeys(WAYS, 0.0)
    tables: dict[str, dict[str, pd.DataFrame]] = {way: {} for way in WAYS}
    with own_store(root, [f"series/{series}", *upstreams.values()]) as store:
        execute(chosen[0], store)  # nothing is timed before torch has warmed up
        remove(store)
        blocks = [chosen[k::num_blocks] for k in range(num_blocks)]
        for number, block in enumerate(blocks):
            print(f"block {number + 1} of {num_blocks}", file=sys.stderr)
            if number == (num_blocks + 1) // 2:
                print("the batch", file=sys.stderr)
                begun, begun_cpu = time.perf_counter(), time.process_time()
                with counted_calls() as called:
                    fields.forget()
                    execute_together(executions, store)
                seconds_together, cpu_s_together = time.perf_counter() - begun, time.process_time() - begun_cpu
                together = {execution.address: table_of(store, execution) for execution in chosen}
                remove(store)
            for way, drop in WAYS.items():
                if way != "nothing kept":  # the first of a warm actor is not timed
                    fields.forget()
                    execute(chosen[0], store)
                    remove(store)
                for execution in block:
                    begun, begun_cpu = time.perf_counter(), time.process_time()
                    drop()
                    execute(execution, store)
                    seconds[way] += time.perf_counter() - begun
                    cpu_s[way] += time.process_time() - begun_cpu
                    tables[way][execution.address] = table_of(store, execution)
                remove(store)
    largest = {
        way: max(float((found[a] - together[a]).abs().to_numpy().max()) for a in together)
        for way, found in tables.items()
    }
    per_second = {way: len(chosen) / spent for way, spent in seconds.items()}
    rate = num / seconds_together
    return {
        "configurations": num,
        "measured_alone": len(chosen),
        "per_second_together": rate,
        "per_second_alone": per_second,
        "ratio": {way: rate / alone for way, alone in per_second.items()},
        "cpu_s_each": {"together": cpu_s_together / num} | {way: spent / len(chosen) for way, spent in cpu_s.items()},
        "largest_difference_db": largest,
        "calls": dict(called),
        "distinct_prefixes": counts(configurations),
        "calls_one_by_one": dict(sum((Counter(counts([one])) for one in configurations), Counter())),
    }


def table_of(store: Store, execution: Execution) -> pd.DataFrame:
    """PSNR of every variant, field and step."""
    table = pd.read_parquet(store.folder(execution.address) / "evaluation.parquet")
    return table.set_index(["variant", "field", "step"])[["psnr"]]


def remove(store: Store) -> None:
    """Make the store forget the evaluations."""
    shutil.rmtree(store.root / "stages" / "iterative", ignore_errors=True)


@contextmanager
def counted_calls() -> Iterator[Counter[str]]:
    """How often R, G and P are called in the loops, counted at the networks; each on all fields counts once."""
    called: Counter[str] = Counter()
    evaluate = loops.evaluate
    num_chunks = 0

    def counting(wanted: Any, z_T: Any, operators: Operators, *others: Any) -> Any:
        nonlocal num_chunks
        num_chunks += 1

        def counted(name: str, network: Callable[..., Any]) -> Callable[..., Any]:
            def call(*inputs: Any) -> Any:
                called[name] += 1
                return network(*inputs)

            return call

        G = {role: counted("G", network) for role, network in operators.G.items()}
        R, P = counted("R", operators.R), counted("P", operators.P)
        return evaluate(wanted, z_T, operators._replace(R=R, G=G, P=P), *others)

    loops.evaluate = counting  # type: ignore[assignment]
    try:
        yield called
    finally:
        loops.evaluate = evaluate
        for name in NETWORKS:
            called[name] = -(-called[name] // max(num_chunks, 1))  # one call too many in a chunk counts


def report(record: dict[str, Any]) -> str:
    """The figures as text."""
    num, alone = record["configurations"], record["measured_alone"]
    lines = [
        f"{num} configurations in one batch: {record['per_second_together']:.2f} a second"
        f" ({record['cpu_s_each']['together']:.2f} CPU-seconds each)"
    ]
    if alone < num:
        lines.append(f"(one by one: {alone} of them, a systematic sample, as all would take too long)")
    for way, rate in record["per_second_alone"].items():
        lines.append(
            f"one by one, {way + ':':15} {rate:.2f} a second; the batch is {record['ratio'][way]:.1f} times as fast "
            f"({record['cpu_s_each'][way] / record['cpu_s_each']['together']:.1f} by CPU time), "
            f"largest difference {record['largest_difference_db'][way]:.1e} dB"
        )
    lines.append(f"calls in the batch:      {record['calls']}")
    lines.append(f"distinct prefixes:       {record['distinct_prefixes']}")
    lines.append(f"calls one by one:        {record['calls_one_by_one']}")
    return "\n".join(lines)


def broken(record: dict[str, Any]) -> list[str]:
    """What is not as it is asked for."""
    found = []
    if record["calls"] != record["distinct_prefixes"]:
        found.append("the number of calls must be that of distinct prefixes")
    if not max(record["largest_difference_db"].values()) <= AT_MOST_DB:
        found.append(f"a batch must give what each gives alone, within {AT_MOST_DB} dB")
    if not min(record["ratio"][way] for way in ("nothing kept", "networks kept")) >= AT_LEAST:
        found.append(f"a batch must be {AT_LEAST} times as fast as executions that share no prefix and no scores")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and say by the exit code whether it is as it is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--configurations", type=int, default=200, metavar="N")
    parser.add_argument("--alone", type=int, default=20, metavar="N", help="so many of them also one by one")
    parser.add_argument("--space", choices=("loops", "quickstart", "whole"), default="loops")
    parser.add_argument("--root", type=Path, default=Path("results/benchmarks"), metavar="FOLDER")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="the figures, for the record")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)  # as a trial has it
    record = compare(asked.root.resolve(), asked.configurations, asked.alone, space=asked.space)
    print(report(record))
    if asked.out:
        asked.out.write_text(json.dumps(record, indent=1))
    for sentence in broken(record):
        print(f"not as asked for: {sentence}", file=sys.stderr)
    return 1 if broken(record) else 0


if __name__ == "__main__":
    sys.exit(main())
