"""What an execution will cost, from what past ones of its kind and size did cost."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from statistics import median
from typing import Any

from dehazing.pipeline.execution import Execution
from dehazing.pipeline.store import Store
from dehazing.stages import stage_module
from dehazing.strict import from_mapping, to_mapping

SAME_SIZE = 0.1  # two series are of one size where their bytes differ by less than this share
NUM_READ = 200  # past executions of a kind that are looked at, at most
CHECKPOINTS = 8  # times the weights: two are kept, each with the weights, their average and AdamW's two moments


@dataclass(frozen=True)
class Cost:
    """Of one execution: seconds on its slot, bytes that it publishes, bytes of its checkpoints while it runs.

    None is unknown. source: where the figures come from.
    """

    seconds: float | None
    published_bytes: float | None
    checkpoint_bytes: float | None
    source: str

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


@dataclass(frozen=True)
class Past:
    """A published execution and what it cost."""

    config: Mapping[str, Any]
    dataset: str
    device: str
    num_threads: int | None
    seconds: float
    published_bytes: int
    weights_bytes: int
    memory: Mapping[str, int] = field(default_factory=dict)  # the most that it held, as `Peak` recorded it


class History:
    """The past executions of a store, each read once, and only where its kind is asked for."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._by_kind: dict[str, list[Past]] = {}

    def cost(self, execution: Execution, searched: Collection[str], device: str, num_threads: int) -> Cost | None:
        """The median over past executions that agree in all settings but `searched`, on such a device and threads.

        Those on the same dataset count; else those on one of the same size; else any, and the source says so. None
        where there is none.
        """
        wanted = signature(execution.kind, execution.config, searched)
        alike = [
            past
            for past in self._past(execution.kind)
            if past.device.split(":")[0] == device.split(":")[0]
            and past.num_threads == num_threads
            and signature(execution.kind, past.config, searched) == wanted
        ]
        size = self._bytes_of(f"series/{execution.dataset}")
        groups = {
            "": [past for past in alike if past.dataset == execution.dataset],
            " on a series of the same size": [
                past for past in alike if size and abs(self._bytes_of(f"series/{past.dataset}") / size - 1) < SAME_SIZE
            ],
            " on another series": alike,
        }
        for where, found in groups.items():
            if found:
                plural = "s" if len(found) > 1 else ""
                return Cost(
                    seconds=median(past.seconds for past in found),
                    published_bytes=median(past.published_bytes for past in found),
                    checkpoint_bytes=CHECKPOINTS * median(past.weights_bytes for past in found),
                    source=f"{len(found)} past execution{plural}{where}",
                )
        return None

    def like(self, kind: str, written: Sequence[Mapping[str, Any]], series: str) -> list[Past]:
        """Past executions of a stage on this series or one of its size, with the settings of any of `written`."""
        size = self._bytes_of(f"series/{series}")

        def is_near(other: str) -> bool:
            return other == series or bool(size and abs(self._bytes_of(f"series/{other}") / size - 1) < SAME_SIZE)

        near = [past for past in self._past(kind) if is_near(past.dataset)]
        return [past for past in near if any(_has(kind, past.config, settings) for settings in written)]

    def _past(self, kind: str) -> list[Past]:
        if kind not in self._by_kind:
            self._by_kind[kind] = [self._read(address) for address in self._addresses.get(kind, ())[:NUM_READ]]
        return self._by_kind[kind]

    @cached_property
    def _addresses(self) -> dict[str, list[str]]:
        result = defaultdict(list)
        for address in self.store.addresses():
            result[address.split("/")[0]].append(address)
        return result

    def _read(self, address: str) -> Past:
        config, metrics = (json.loads(self.store.read(address, f"{name}.json")) for name in ("config", "metrics"))
        return Past(
            config=config["config"],
            dataset=config["dataset"],
            device=metrics["device"],
            num_threads=metrics.get("num_threads"),
            seconds=metrics["seconds"],
            published_bytes=self._bytes_of(address),
            weights_bytes=self._bytes_of(address, "weights"),
            memory=metrics.get("memory", {}),
        )

    def _bytes_of(self, address: str, beginning: str = "") -> int:
        """Of the published files whose names begin so; 0 where nothing is published."""
        manifest = self.store.manifest(address)
        files = manifest["files"] if manifest else {}
        return sum(entry["size"] for name, entry in files.items() if name.startswith(beginning))


def _has(kind: str, config: Mapping[str, Any], written: Mapping[str, Any]) -> bool:
    """Whether a whole configuration says of some settings what is written."""
    try:
        laid = from_mapping(stage_module(kind).Config, {**config, **written}, kind)
    except ValueError:  # it has settings that this code has not, or that what is written excludes
        return False
    return to_mapping(laid) == dict(config)


def signature(kind: str, config: Mapping[str, Any], searched: Collection[str] = ()) -> str:
    """Text that executions share where they should cost the same; of the loop's configurations the number counts."""
    kept = {key: value for key, value in config.items() if key not in searched}
    if "configurations" in config:
        kept["configurations"] = len(config["configurations"])
    return json.dumps([kind, kept], sort_keys=True)
