"""Ray on this machine, or the cluster at RAY_ADDRESS: started once for all studies."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

import yaml

from studies.resources import GB, num_that_fit
from studies.scale import Scale
from studies.tracking.identity import results_id
from studies.tracking.reachable import require_mlflow
from trainables import node

CODE = Path(__file__).resolve().parents[1]
# of the checkout, to other nodes: results and data stay here
UNSHIPPED = [".git", ".venv", "results", "*.tif", "*.tiff", "*.czi", "*.lif", "*.nd2"]
LOOK_EVERY_S = 5.0
ANSWERS_WITHIN_S = 120.0  # of a node, which first unpacks the code
IN_A_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # set by Ray for what `ray job submit` runs
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",  # of a local Ray; since 2.59 it would write a token into the home folder
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # an epoch need not have the objective; the searcher checks the end
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "100000",  # Tune's own state is thrown away
    "TUNE_WARN_THRESHOLD_S": "60",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def start(scale: Scale, verbose: bool, place: str) -> int:
    """Start or join Ray, and return how many trials run side by side.

    place: of the store. ValueError where there is no room for a trial, and on a cluster where a node differs from this
    host, or MLflow's server does not answer it.
    """
    num_cpus = scale.num_cpus
    for name, value in QUIET.items():
        if name != "RAY_AUTH_MODE" or not os.environ.get("RAY_ADDRESS"):
            os.environ.setdefault(name, value)
    os.environ["OMP_NUM_THREADS"] = str(num_cpus)
    import ray

    if not ray.is_initialized():
        level = logging.INFO if verbose else logging.FATAL
        common: dict[str, Any] = {"logging_level": level, "log_to_driver": verbose, "configure_logging": verbose}
        if os.environ.get("RAY_ADDRESS"):
            quiet = {name: value for name, value in QUIET.items() if name != "RAY_AUTH_MODE"}
            environment: dict[str, Any] = {"env_vars": {**quiet, "OMP_NUM_THREADS": str(num_cpus)}}
            if IN_A_JOB not in os.environ:  # a job's checkout goes to the workers anyway
                environment |= {"working_dir": str(CODE), "excludes": UNSHIPPED}
            require_mlflow()
            ray.init(runtime_env=environment, **common)
            check_nodes(place)
        else:
            paths = [str(CODE), *filter(None, [os.environ.get("PYTHONPATH")])]
            os.environ["PYTHONPATH"] = os.pathsep.join(paths)  # inherited by the workers
            ray.init(address="local", include_dashboard=False, object_store_memory=256 * 2**20, **common)
    if not verbose:
        logging.getLogger("ray").setLevel(logging.FATAL)
    return room(scale)


def room(scale: Scale) -> int:
    """How many executions at the scale the nodes of Ray hold side by side; ValueError where they hold none."""
    import ray

    if os.environ.get("RAY_ADDRESS") and scale.num_parallel and can_grow():
        return scale.num_parallel
    nodes = [one["Resources"] for one in ray.nodes() if one["Alive"]]
    has = [[node.get(name, 0.0) for name in ("CPU", "GPU", "memory")] for node in nodes]
    slots = sum(num_that_fit(scale, *node) for node in has)
    if slots < 1:
        most = max(has, default=[0.0, 0.0, 0.0])
        raise ValueError(
            f"A trial needs {scale.num_cpus} CPUs, {scale.num_gpus:g} GPUs and {scale.memory_gb:g} GB of memory, but "
            f"the largest node of Ray has {most[0]:g}, {most[1]:g} and {most[2] / GB:.3g}: for a cluster that grows, "
            "say how many trials run side by side by --set scale.num_parallel=…"
        )
    return min(slots, scale.num_parallel or slots)


def can_grow() -> bool:
    """Whether an autoscaler may start more nodes than there are: one of machines at hand has them all."""
    file = Path("~/ray_bootstrap_config.yaml").expanduser()  # what `ray up` leaves on the head
    return file.is_file() and yaml.safe_load(file.read_text())["provider"]["type"] != "local"


def alike(place: str) -> dict[str, str]:
    """What every node must have as this host has it; place: of the store, a folder of which gets its id."""
    if "://" not in place:
        results_id(Path(place))
    return node.alike(place)


def check_nodes(place: str) -> None:
    """ValueError naming the first node of the cluster that differs from this host, or cannot be asked.

    place: of the store.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    expected = alike(place)
    look = ray.remote(num_cpus=0, max_retries=0)(node.difference)
    asked = {}
    for one in ray.nodes():
        if one["Alive"]:
            here = NodeAffinitySchedulingStrategy(one["NodeID"], soft=False)
            asked[look.options(scheduling_strategy=here).remote(expected, place)] = one
    answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWERS_WITHIN_S)
    for answer in answered:
        name, said = asked[answer]["NodeManagerHostname"], ""
        try:
            said = ray.get(answer)
        except ray.exceptions.RayError as error:
            if _is_alive(asked[answer]["NodeID"]):
                said = f"Every node must run what it is asked, but {name} says: {' '.join(str(error).split())[-300:]}"
        if said:
            raise ValueError(said)
    silent = [one for one in silent if _is_alive(asked[one]["NodeID"])]
    if silent:
        names = ", ".join(sorted(asked[one]["NodeManagerHostname"] for one in silent))
        raise ValueError(f"Every node must answer within {ANSWERS_WITHIN_S:g} s, but {names} did not.")


def _is_alive(node_id: str) -> bool:
    import ray

    return any(one["NodeID"] == node_id and one["Alive"] for one in ray.nodes())


class Lost(RuntimeError):
    """Ray's own process on this host is gone: what was handed to it never ends."""


class Watch:
    """Asks Ray now and then whether its process on this host is alive, which Tune waits for in vain otherwise."""

    def __init__(self) -> None:
        self._looked_s = time.monotonic()

    def look(self) -> None:
        """Lost where it is not."""
        if time.monotonic() - self._looked_s < LOOK_EVERY_S:
            return
        import ray

        here = ray.get_runtime_context().get_node_id()
        if not _is_alive(here):
            raise Lost("Ray must stay alive on this host, but it was killed or has died; give the same command again.")
        self._looked_s = time.monotonic()


def stop() -> None:
    """Stop the Ray that this process started, or leave the cluster."""
    import ray

    ray.shutdown()
