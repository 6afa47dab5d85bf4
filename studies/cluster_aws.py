"""What a cluster file asks AWS for, against the model that botocore ships: no network, no account."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dehazing.strict import nearest

UNKNOWN = re.compile(r'Unknown parameter in (\S+): "(\w+)", must be one of: (.*)')


def check_aws(config: Mapping[str, Any], where: str) -> None:
    """ValueError for a region, zone, instance type, image, profile or open port that cannot be meant."""
    try:
        import botocore.session
        from botocore.validate import ParamValidator
    except ModuleNotFoundError as error:
        raise ValueError(
            "To check a cluster on AWS, install boto3: pip install -c constraints.txt -e '.[aws]'"
        ) from error
    session = botocore.session.Session()
    _check_place(config["provider"], session.get_available_regions("ec2"), where)
    if "aws_credentials" in config["provider"]:
        raise ValueError(f"{where}: `provider.aws_credentials` must not be there: a file is no place for a secret.")
    if config["provider"].get("cache_stopped_nodes", True):
        raise ValueError(f"{where}: `provider.cache_stopped_nodes` must be false, or machines are stopped and cost on.")
    for rule in config["provider"].get("security_group", {}).get("IpPermissions", []):
        if (rule.get("IpProtocol"), rule.get("FromPort"), rule.get("ToPort")) != ("tcp", 22, 22):
            raise ValueError(
                f"{where}: `provider.security_group.IpPermissions` must open port 22 only, but has {rule}."
            )
    shape = session.get_service_model("ec2").operation_model("RunInstances").input_shape
    for name, node in config["available_node_types"].items():
        place = f"{where}: `available_node_types.{name}.node_config"
        # SubnetIds is Ray's own
        asked = {key: value for key, value in node["node_config"].items() if key != "SubnetIds"}
        report = ParamValidator().validate({**asked, "MinCount": 1, "MaxCount": 1}, shape)
        if report.has_errors():
            raise ValueError(f"{place}` {_sentence(report.generate_report().splitlines()[0])}")
        _check_type(asked.get("InstanceType"), shape.members["InstanceType"].enum, place)
        if "ImageId" not in asked:
            raise ValueError(f"{place}.ImageId` must be there, as Ray's default is of 2018, but is missing.")
        if not asked.get("IamInstanceProfile"):
            raise ValueError(
                f"{place}.IamInstanceProfile` must name the profile by which it reaches the bucket, but is missing."
            )
    head = config["available_node_types"][config["head_node_type"]]
    if head["resources"].get("CPU") != 0:
        raise ValueError(
            f"{where}: `available_node_types.{config['head_node_type']}.resources.CPU` must be 0, so that no trial "
            f"starves the driver, but is {head['resources'].get('CPU', 'missing')}."
        )
    if "InstanceMarketOptions" in head["node_config"]:
        raise ValueError(f"{where}: the head must be on demand, but `{config['head_node_type']}` has a market option.")


def _check_place(provider: Mapping[str, Any], regions: list[str], where: str) -> None:
    region = provider.get("region")
    if region is None:
        raise ValueError(f"{where}: `provider.region` must name a region of AWS, but is missing.")
    if region not in regions:
        near = nearest(region, regions)
        raise ValueError(f"{where}: `provider.region` must be a region of AWS, but is {region!r} (nearest: {near}).")
    for zone in (provider.get("availability_zone") or "").split(","):
        if zone and not re.fullmatch(rf"{region}[a-z]", zone.strip()):
            raise ValueError(f"{where}: `provider.availability_zone` must lie in {region}, but has {zone.strip()}.")


def _check_type(instance_type: str | None, known: list[str], place: str) -> None:
    if instance_type is None:
        raise ValueError(f"{place}.InstanceType` must name a machine, but is missing.")
    if instance_type not in known:
        near = nearest(instance_type, known)
        raise ValueError(
            f"{place}.InstanceType` must be a type that AWS has, but is {instance_type!r} (nearest: {near})."
        )


def _sentence(report: str) -> str:
    """botocore's words, without its list of a hundred valid names."""
    unknown = UNKNOWN.match(report)
    if unknown is None:
        return f"does not fit: {report}."
    place, key, valid = unknown.groups()
    inside = "" if place == "input" else f" in {place}"
    return f"has an unknown key `{key}`{inside}; the nearest valid key is `{nearest(key, valid.split(', '))}`."
