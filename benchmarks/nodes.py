"""A Ray cluster on this machine: a head that runs no trial, and worker nodes with as many slots as are asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def nodes(num: int, slots: int) -> Iterator[str]:
    """The address of a cluster of `num` workers with so many slots each; it is stopped at the end.

    The slots are only what the nodes say that they have: what sleeps needs no CPU of its own.
    """
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(num):
            cluster.add_node(num_cpus=slots)
        yield cluster.address
    finally:
        cluster.shutdown()
