"""Nodes of a cluster whose disk is full: for a while nothing is placed there."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ray.tune import PlacementGroupFactory

from studies import cluster

FULL_FOR_S = 300.0  # then it is asked again: somebody may have made room
NODE = "ray.io/node-id"  # the label that every node has of Ray
AWAY_FROM = "away_from"  # key of a trial's config: the nodes that must not get it


class FullDisks:
    """What nodes have said of their disks, and whether what they were at can go elsewhere."""

    def __init__(self) -> None:
        self._noted_s: dict[str, float] = {}

    def nodes(self) -> list[str]:
        """The ids of the nodes that are to be left alone for now."""
        now_s = time.monotonic()
        return sorted(node for node, noted_s in self._noted_s.items() if now_s - noted_s < FULL_FOR_S)

    def note(self, node: str, needs: Mapping[str, float]) -> bool:
        """Leave a node alone from now on; whether there is another one for what it was at, or can be.

        needs: what that asks Ray for.
        """
        self._noted_s[node] = time.monotonic()
        return bool(node) and (any(self._has(needs, one) for one in _alive()) or cluster.can_grow())

    def options(self) -> dict[str, Any]:
        """Of a task of Ray's, so that none of them gets it."""
        nodes = self.nodes()
        return {"label_selector": _selector(nodes)} if nodes else {}

    def _has(self, needs: Mapping[str, float], one: Mapping[str, Any]) -> bool:
        enough = all(one["Resources"].get(name, 0) >= number for name, number in needs.items())
        return enough and one["NodeID"] not in self.nodes()


def placed(config: Mapping[str, Any]) -> PlacementGroupFactory:
    """What a piece of work asks Ray for, on none of the nodes that its config says under AWAY_FROM."""
    nodes = config.get(AWAY_FROM, [])
    where: dict[str, Any] = {"bundle_label_selector": [_selector(nodes)]} if nodes else {}
    return PlacementGroupFactory([dict(config["resources"])], **where)


def _selector(nodes: list[str]) -> dict[str, str]:
    return {NODE: f"!in({','.join(nodes)})"}


def _alive() -> list[Mapping[str, Any]]:
    import ray

    return [one for one in ray.nodes() if one["Alive"]]
