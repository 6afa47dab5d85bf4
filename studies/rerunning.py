"""`rerun`: one trial again from its record, in a store of its own, and compared."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from optuna.trial import TrialState

from dehazing.pipeline.execute import execute, executing
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.failure import comes_again, is_out_of_memory, reason_of
from dehazing.pipeline.store import Store, open_store
from studies import asking
from studies.progress import Progress
from studies.record_comparison import Row, compare, compare_epochs
from studies.recorded import Recorded, find
from studies.scratch import link, scratch_store

SAME, DIFFERENT = 0, 1


def add_rerun(parser: argparse.ArgumentParser) -> None:
    """Options of `rerun`."""
    parser.add_argument("trial", metavar="TRIAL", help="STUDY/NUMBER such as degrader/3, or kind/fingerprint")
    asking.add_experiment(parser)
    parser.add_argument("--device", help="cpu, cuda or cuda:1; default: what the trial ran on")
    parser.add_argument("--num-cpus", type=int, metavar="N", help="threads; default: as many as the trial had")
    parser.add_argument("--verbose", action="store_true", help="tracebacks")


def rerun(arguments: argparse.Namespace) -> int:
    """Repeat a trial from its record; 0 where the numbers are the same, 1 where they are not."""
    if arguments.num_cpus is not None and arguments.num_cpus < 1:
        raise ValueError(f"`--num-cpus >= 1` must hold, but is {arguments.num_cpus}.")
    root = Path(arguments.storage).expanduser().resolve()
    store = open_store(root)
    recorded = find(arguments.trial, root, store, arguments.experiment)
    device = _device(arguments.device, recorded, store)
    _introduce(recorded, store, device)
    threads = torch.get_num_threads()
    torch.set_num_threads(arguments.num_cpus or _before(recorded, store).get("num_threads", 1))
    try:
        with scratch_store(store) as scratch:
            return _again(recorded, store, scratch, device)
    finally:
        torch.set_num_threads(threads)


def _again(recorded: Recorded, store: Store, scratch: Store, device: str) -> int:
    missing = _link_needed(recorded, store, scratch)
    progress = Progress()
    try:
        for execution in missing:
            execute(execution, scratch, device, lambda epoch: _show(progress, recorded.name, epoch))
        if recorded.reported:
            return _of_stopped(recorded, scratch, device, progress)
        execution = recorded.executions[-1]
        execute(execution, scratch, device, lambda epoch: _show(progress, recorded.name, epoch))
    except Exception as error:
        if not comes_again(error) and not is_out_of_memory(error):
            raise
        return _of_failure(recorded, reason_of(error))
    if recorded.state == TrialState.FAIL and not store.has(recorded.address):
        print(f"{recorded.name} came to its end this time, so it is different.")
        return DIFFERENT
    if not store.has(recorded.address):
        raise ValueError(
            f"{recorded.address}, the result of {recorded.name}, must be in {store.name} to be compared with, "
            "but was removed; the trial ran again without an error."
        )
    code = _verdict(recorded.name, compare(store, recorded.address, scratch, execution.address))
    if recorded.reason and code == SAME:
        print("So it fails again, for the same reason.")
    return code


def _of_stopped(recorded: Recorded, scratch: Store, device: str, progress: Progress) -> int:
    """Up to the epoch at which the trial was stopped; its record is the objective of each epoch."""
    last, history = max(recorded.reported), list[dict[str, Any]]()
    with closing(executing(recorded.executions[-1], scratch, device)) as epochs:
        for metrics in epochs:
            _show(progress, recorded.name, metrics)
            history.append(metrics)
            if metrics["epoch"] >= last:
                break
    name = recorded.objective
    now = [{"epoch": m["epoch"], name: m.get(name)} for m in history if m["epoch"] in recorded.reported]
    before = [{"epoch": epoch, name: recorded.reported[epoch]} for epoch in sorted(recorded.reported)]
    print(f"{recorded.name} was stopped early at epoch {last}, so its objective, {name}, is compared.")
    return _verdict(recorded.name, compare_epochs(before, now))


def _of_failure(recorded: Recorded, reason: str) -> int:
    print(f"now:      {reason}")
    if recorded.state == TrialState.FAIL and reason in recorded.reason:
        print(f"{recorded.name} fails again, for the same reason.")
        return SAME
    if recorded.state == TrialState.FAIL:
        print(f"{recorded.name} fails again, but for another reason.")
    else:
        print(f"{recorded.name} fails, though it came to its end before.")
    return DIFFERENT


def _verdict(name: str, rows: Sequence[Row]) -> int:
    width = max(len(row.what) for row in rows)
    print(f"{'':<{width}}  {'recorded':>14}  {'now':>14}  difference")
    for row in rows:
        shown = "same" if not row.difference else "differs" if math.isinf(row.difference) else f"{row.difference:.3g}"
        print(f"{row.what:<{width}}  {row.recorded:>14}  {row.now:>14}  {shown}")
    different = [row for row in rows if row.difference]
    if not different:
        print(f"{name} gives the same numbers again, to the bit.")
        return SAME
    numbers = [row for row in different if math.isfinite(row.difference)]
    if numbers:
        worst = max(numbers, key=lambda row: row.difference)
        print(f"{name} is different: the largest difference is {worst.difference:.3g}, in {worst.what}.")
    else:
        print(f"{name} is different, in {', '.join(row.what for row in different)}.")
    return DIFFERENT


def _introduce(recorded: Recorded, store: Store, device: str) -> None:
    for note in recorded.notes:
        print(f"note: {note}")
    execution = recorded.executions[-1]
    if recorded.address != execution.address:
        print(
            f"The code of the stage {execution.kind} has changed since {recorded.name} ran "
            f"(it was {recorded.address}, and is {execution.address} now): the numbers may differ for that reason."
        )
    print(f"{recorded.name}: {recorded.address} on {device}", flush=True)
    if recorded.reason:
        print(f"recorded: {recorded.reason}", flush=True)


def _link_needed(recorded: Recorded, store: Store, scratch: Store) -> list[Execution]:
    """Links series and upstreams; returns the upstreams that the trial asked for itself and the store has not."""
    missing = [execution for execution in recorded.executions[:-1] if not store.has(execution.address)]
    made = {execution.address for execution in missing}
    for execution in (*missing, recorded.executions[-1]):
        for address in (f"series/{execution.dataset}", *execution.upstreams.values()):
            if address in made:
                continue
            if not store.has(address):
                raise ValueError(
                    f"{recorded.name} builds on {address}, which must be in {store.name}, but is not there any more."
                )
            link(scratch, store, address)
    return missing


def _device(asked: str | None, recorded: Recorded, store: Store) -> str:
    before = _before(recorded, store).get("device")
    device = asked or before or "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ValueError(f"--device must be cpu, cuda or cuda:NUMBER, but is {device!r}.") from error
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"--device must be cpu, cuda or cuda:NUMBER, but is {device!r}.")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"{recorded.name} must run on {device}, but this machine has no GPU; "
            "--device cpu repeats it here, with numbers that differ a little."
        )
    if before and before.split(":")[0] != kind:
        print(f"note: it ran on {before}, and runs on {device} now: the numbers differ a little for that reason")
    return device


def _before(recorded: Recorded, store: Store) -> dict[str, Any]:
    """What was published; {} where nothing was."""
    there = store.has(recorded.address)
    return json.loads(store.read(recorded.address, "metrics.json")) if there else {}


def _show(progress: Progress, name: str, epoch: dict[str, Any]) -> None:
    progress.show(name, epoch["epoch"], epoch["num_epochs"], 1)
