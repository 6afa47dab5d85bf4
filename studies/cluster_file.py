"""`check-cluster`: what can be said of a cluster file before `ray up`, without a network."""

from __future__ import annotations

import argparse
import json
import logging
import shlex
from collections.abc import Mapping
from contextlib import redirect_stdout
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any

import yaml

from dehazing.strict import nearest
from studies.cluster_aws import check_aws
from studies.cluster_pins import check_pins
from studies.cluster_safety import check_firewall, check_key, check_mounts, check_start, check_token, left_open

# Ray's schema lets anything pass below `provider`; these are the keys that its code reads
PROVIDER_KEYS = {
    "aws": [
        *("type", "region", "availability_zone", "cache_stopped_nodes", "use_internal_ips", "use_external_head_ip"),
        *("security_group", "key_pair", "aws_credentials", "cloudwatch"),
        *("disable_node_updaters", "disable_launch_config_check"),
    ],
    "local": ["type", "head_ip", "worker_ips", "external_head_ip", "use_internal_ips", "disable_node_updaters"],
}
PLACEHOLDER = "CHANGE-ME"


def add_check_cluster(parser: argparse.ArgumentParser) -> None:
    """Options of `check-cluster`."""
    parser.add_argument("file", type=Path, metavar="FILE", help="YAML for `ray up`, such as cluster.yaml")
    parser.add_argument("--verbose", action="store_true", help="tracebacks")


def check_cluster(arguments: argparse.Namespace) -> int:
    """Say that a cluster file is fine, and what could not be seen from here; a mistake is a ValueError."""
    path = arguments.file.expanduser()
    config = check(path)
    start, by = f"ray up {shlex.quote(str(path))}", f"Ray {version('ray')}"
    if config["provider"]["type"] == "aws":
        by += f", botocore {version('botocore')}"
        unseen = "whether bucket, volume, profiles and quota are there, and what it costs: only AWS knows"
    else:
        start = f"RAY_UP_enable_autoscaler_v2=0 {start}"  # the newer one loses a worker of the local provider for good
        unseen = "whether the machines answer and share a folder"
    print(f"{path} is fine: keys and values ({by}), versions (constraints.txt), mounts, token, dashboard, ports")
    print(f"not checked: {unseen}")
    if config["provider"]["type"] == "local" and (keys := left_open(config)):
        print(f"open ports:  {', '.join(keys)} without firewall.sh: close the study's ports to other machines yourself")
    unchanged = [key for key, value in config.items() if PLACEHOLDER in json.dumps(value)]
    if unchanged:
        print(f"to change:   {PLACEHOLDER} still stands in {', '.join(unchanged)}")
    print(f"start it:    {start}")
    return 0


def check(path: Path) -> dict[str, Any]:
    """The cluster file as Ray completes it.

    Mount sources are taken as `ray up` takes them: `~` is the home folder, the rest relative to the current one.
    ValueError, of one sentence that names the key and what was found, for the first mistake.
    """
    config = _read(path)
    where = str(path)
    _check_schema(config, where)
    kind = config["provider"]["type"]
    if kind not in PROVIDER_KEYS:
        raise ValueError(f"{where}: `provider.type` must be {' or '.join(PROVIDER_KEYS)}, but is {kind!r}.")
    for key in config["provider"]:
        if key not in PROVIDER_KEYS[kind]:
            near = nearest(str(key), PROVIDER_KEYS[kind])
            raise ValueError(f"{where}: unknown key `provider.{key}`; the nearest valid key is `{near}`.")
    if kind == "local":
        _check_addresses(config, where)
    completed = _completed(config, where)
    if kind == "aws":
        check_aws(completed, where)
    check_pins(completed, where)
    check_mounts(completed, where)
    check_key(completed, where)
    check_token(completed, where)
    check_start(completed, where)
    if kind == "local":
        check_firewall(completed, where)
    return completed


def _read(path: Path) -> dict[str, Any]:
    try:
        mapping = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ValueError(f"The cluster file {path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(mapping, dict):
        raise ValueError(f"{path} must be a mapping of keys to values, but is {type(mapping).__name__}.")
    return mapping


def _check_schema(config: Mapping[str, Any], where: str) -> None:
    """By Ray's own schema, a little stricter, before Ray fills in what is missing: that stumbles over wrong types."""
    import jsonschema
    import ray.autoscaler

    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    schema["properties"]["file_mounts"]["additionalProperties"] = {"type": "string"}
    schema["properties"]["provider"]["properties"]["security_group"]["properties"]["IpPermissions"]["items"] = {
        "type": "object"
    }
    error = jsonschema.exceptions.best_match(jsonschema.Draft7Validator(schema).iter_errors(config))
    if error is None:
        return
    place = ".".join(map(str, error.absolute_path))
    inside = f"{place}." if place else ""
    if error.validator == "additionalProperties":
        valid = error.schema.get("properties", {})
        extra = next(key for key in error.instance if key not in valid)
        text = f"unknown key `{inside}{extra}`; the nearest valid key is `{nearest(str(extra), valid)}`"
    elif error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        text = f"the key `{inside}{missing}` is required, but missing"
    elif error.validator == "type":
        text = f"`{place}` must be of type {error.validator_value}, but is {error.instance!r:.60}"
    else:
        text = f"`{place}`: {error.message}"
    raise ValueError(f"{where}: {text}.")


def _check_addresses(config: Mapping[str, Any], where: str) -> None:
    """Of the local provider, which stops at an assertion or at a warning where these do not fit."""
    provider = config["provider"]
    for key, kind in (("head_ip", str), ("worker_ips", list)):
        if not isinstance(provider.get(key), kind) or not provider[key]:
            found = f"is {provider[key]!r}" if key in provider else "is missing"
            raise ValueError(f"{where}: `provider.{key}` must say where the machines are, but {found}.")
    machines = [provider["head_ip"], *provider["worker_ips"]]
    for machine in machines:
        if machines.count(machine) > 1:
            raise ValueError(f"{where}: every machine must stand once in `provider`, but {machine} stands there twice.")
    num_workers = config.get("max_workers", len(machines) - 1)
    if num_workers != len(machines) - 1:
        raise ValueError(f"{where}: `max_workers` must be {len(machines) - 1}, as worker_ips, but is {num_workers}.")
    if "available_node_types" in config:
        raise ValueError(f"{where}: `available_node_types` must not be there with the local provider, but is.")


def _completed(config: dict[str, Any], where: str) -> dict[str, Any]:
    """With Ray's defaults, which are what counts where the file says nothing."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        with redirect_stdout(StringIO()):  # it warns of what matters to containers only
            completed: dict[str, Any] = prepare_config(config)
        validate_config(completed)
    except (ValueError, RuntimeError, AssertionError) as error:
        raise ValueError(f"{where}: {' '.join(str(error).split())}") from error
    return completed
