"""`prune`: drop from the store what no search and no confirmation reaches."""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dehazing.pipeline.manifest import Damaged
from dehazing.pipeline.manifest import check_size as check_entry
from dehazing.pipeline.store import MANIFEST, Store, open_store
from dehazing.pipeline.writing import writing
from studies import journal
from studies.driving import PRUNING, alone, is_worked_on
from studies.reached import Reached, reached_by
from studies.storage import other_users

WANTED = "wanted.json"


@dataclass
class Waste:
    """What would go: addresses → bytes, by what is wrong with them; and what is said beside."""

    unreached: dict[str, int] = field(default_factory=dict)  # published, and nothing builds on it
    unfinished: dict[str, int] = field(default_factory=dict)  # never published, and nothing asks for it
    checkpoints: dict[str, int] = field(default_factory=dict)  # of executions that ended
    leftovers: dict[str, int] = field(default_factory=dict)  # of publications that were cut off
    worked_on: list[str] = field(default_factory=list)  # kept, though nothing reaches it
    damaged: list[str] = field(default_factory=list)  # sentences

    @property
    def num_bytes(self) -> int:
        parts = (self.unreached, self.unfinished, self.checkpoints, self.leftovers)
        return sum(sum(part.values()) for part in parts)

    def __bool__(self) -> bool:
        return bool(self.unreached or self.unfinished or self.checkpoints or self.leftovers)


def add_prune(parser: argparse.ArgumentParser) -> None:
    """Options of `prune`."""
    parser.add_argument(
        "--storage",
        type=Path,
        action="append",
        metavar="PATH",
        help="results folder whose searches count, default: results/; more than one where they share a store",
    )
    parser.add_argument("--store", metavar="PLACE", help="the store, a folder or scheme://…; default: in --storage")
    parser.add_argument("--superseded", action="store_true", help="of each study count the newest search only")
    parser.add_argument(
        "--others-too",
        action="store_true",
        help="drop also what only results folders reach that share the store and are not named by --storage",
    )
    parser.add_argument("--yes", action="store_true", help="drop it; without this, only say what would go")
    parser.add_argument("--verbose", action="store_true", help="tracebacks")


def prune(arguments: argparse.Namespace) -> int:
    """Say what nothing reaches, and drop it where `--yes` says so."""
    roots = [path.expanduser().resolve() for path in arguments.storage or [Path("results")]]
    store = open_store(arguments.store or roots[0])
    check_roots(store, roots, arguments.others_too)
    files = store.files()  # before the journals are read: what is made from now on is not touched
    reached = reached_by(store, roots, arguments.superseded)
    waste = find_waste(store, files, reached)
    num_bytes = sum(sum(names.values()) for names in files.values())
    print(f"store      {store.name}: {len(files)} executions and series, {size(num_bytes)}")
    print(f"reached    {len(reached.addresses & set(files))}, by {reached.num_searches} searches", end="")
    print(f" and {reached.num_confirmations} confirmations")
    if store.place not in map(str, roots):
        folders = ", ".join(map(str, roots))
        print(f"note: only the searches in {folders} count; name other results folders of this store by --storage too")
    _print(waste)
    for sentence in [*waste.damaged, *reached.damaged]:
        print(f"damaged: {sentence}")
    if not waste:
        print("There is nothing to drop.")
    elif not arguments.yes:
        print(f"{size(waste.num_bytes)} would be dropped; add --yes to drop them.")
    else:
        with alone(roots):
            num_bytes = drop(store, waste, roots, arguments.superseded)
        print(f"{size(num_bytes)} dropped.")
    return 0


def check_roots(store: Store, roots: Sequence[Path], others_too: bool = False) -> None:
    """ValueError where the searches of `roots` do not tell what is needed of the store: others' would be dropped."""
    for root in roots:
        theirs = open_store(root)
        if theirs.place.rstrip("/") != store.place.rstrip("/"):
            named = f"{theirs.name}, of other credentials or options" if theirs.name == store.name else theirs.name
            raise ValueError(
                f"--storage must name results folders whose stages are in {store.name}, "
                f"but those of {root} are in {named}."
            )
    folder = Path(store.place)
    if "://" not in store.place and folder not in roots and journal.names(folder):
        raise ValueError(f"{folder} has searches of its own, so it must be named by --storage too, but is not.")
    others = [] if others_too else other_users(store, roots)
    if others:
        raise ValueError(
            f"Every results folder whose stages are in {store.name} must be named by --storage, but "
            f"{', '.join(others)} is not; --others-too drops what only others need."
        )


def find_waste(store: Store, files: Mapping[str, Mapping[str, int]], reached: Reached) -> Waste:
    """What can go; files: as `store.files()` gave them before `reached` was found."""
    waste = Waste()
    for address, names in files.items():
        if address == PRUNING:
            continue
        manifest = store.manifest(address) if MANIFEST in names else None
        if manifest is not None:
            waste.damaged += _damage(store, address, manifest, names)
        leftovers = {name: b for name, b in names.items() if _is_leftover(name, manifest)}
        partial = {name: b for name, b in names.items() if name.startswith("partial/")}
        goes = address not in reached.addresses
        if not goes and not leftovers and not partial:
            continue
        if is_worked_on(store, address):
            waste.worked_on += [address] if goes else []
        elif goes:
            (waste.unfinished if manifest is None else waste.unreached)[address] = sum(names.values())
        else:
            if leftovers:
                waste.leftovers[address] = sum(leftovers.values())
            if partial and (manifest is not None or address not in reached.under_way):
                waste.checkpoints[address] = sum(partial.values())
    return waste


def drop(store: Store, waste: Waste, roots: Sequence[Path], superseded: bool = False) -> int:
    """Drops what was found, but for what somebody reached or began to work on since; returns how many bytes.

    Nobody must begin meanwhile: see `alone`.
    """
    reached = reached_by(store, roots, superseded)  # once more: much may have begun since
    num_bytes = 0
    for found in (waste.unreached, waste.unfinished):
        for address in found:
            if address not in reached.addresses and not is_worked_on(store, address):
                store.drop(address)
                num_bytes += found[address]
    for address in waste.checkpoints:
        asked = address in reached.under_way and not store.has(address)
        if not asked and not is_worked_on(store, address):
            store.clear_partial(address)
            num_bytes += waste.checkpoints[address]
    for address in waste.leftovers:
        if not is_worked_on(store, address):
            store.clear_leftovers(address)
            num_bytes += waste.leftovers[address]
    return num_bytes


def note_wanted(folder: Path, dataset: str, addresses: Iterable[str]) -> None:
    """Notes in an experiment's folder what its confirmation is about to make, so that `prune` keeps it."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f"{WANTED}-{os.getpid()}.tmp"  # another driver may write, too
        aside.write_text(json.dumps({"dataset": dataset, "addresses": sorted(set(addresses))}, indent=1))
        aside.replace(folder / WANTED)


def size(num_bytes: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000 or unit == "GB":
            break
        num_bytes /= 1000
    return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"


def _print(waste: Waste) -> None:
    parts = {
        "nothing reaches": waste.unreached,
        "never finished, and nothing asks for": waste.unfinished,
        "checkpoints of what has ended": waste.checkpoints,
        "leftovers of publications that were cut off": waste.leftovers,
    }
    for title, addresses in parts.items():
        if addresses:
            print(f"{title}:")
        counts = Counter(address.partition("/")[0] for address in addresses)
        for kind, count in sorted(counts.items()):
            num_bytes = sum(b for address, b in addresses.items() if address.startswith(f"{kind}/"))
            print(f"    {kind:<10} {count:>5}  {size(num_bytes)}")
    if waste.worked_on:
        print(f"kept, as somebody works on it: {', '.join(waste.worked_on)}")


def _damage(store: Store, address: str, manifest: Mapping, names: Mapping[str, int]) -> list[str]:
    """What the sizes tell; contents are checked when they are read."""
    here = f"{manifest['here']}/" if "here" in manifest else ""
    try:
        for name, entry in manifest["files"].items():
            check_entry(entry, names.get(here + name), f"{address}/{name}", "drop it and give its command again")
    except Damaged as error:
        return [str(error)]
    return []


def _is_leftover(name: str, manifest: Mapping | None) -> bool:
    folder = name.partition("/")[0]
    return folder.startswith(("publishing-", "files-")) and folder != (manifest or {}).get("here")
