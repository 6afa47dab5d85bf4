"""`prepare-cluster`: what must be there before the first `ray up`, made once: the token, and what the account needs."""

from __future__ import annotations

import argparse
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from studies.cluster import CODE
from studies.cluster_file import PLACEHOLDER, check
from studies.cluster_safety import TOKEN

POLICIES = CODE / "cluster"
VOLUME_GB = 50
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
# first letters of the type → the quotas of vCPUs, on demand and spot
QUOTAS = {"g": ("L-DB2E81BA", "L-3819A6DF"), "vt": ("L-DB2E81BA", "L-3819A6DF"), "p": ("L-417A185B", "L-7212CCBC")}


def add_prepare_cluster(parser: argparse.ArgumentParser) -> None:
    """Options of `prepare-cluster`."""
    parser.add_argument("file", type=Path, metavar="FILE", help="YAML for `ray up`, such as cluster.yaml")
    parser.add_argument("--verbose", action="store_true", help="tracebacks")


def prepare_cluster(arguments: argparse.Namespace) -> int:
    """Make what is missing and say so; given again, it changes nothing but the policies, where these were changed."""
    path = arguments.file.expanduser()
    config = yaml.safe_load(path.read_text()) if path.is_file() else {}
    for remote, local in (config.get("file_mounts") or {}).items() if isinstance(config, dict) else ():
        if remote == TOKEN and not Path(local).expanduser().resolve().is_relative_to(CODE):
            print(_token(Path(local).expanduser()), flush=True)
    config = check(path)
    if config["provider"]["type"] == "aws":
        _require_names(path, config)
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            for said in _account(config):
                print(said, flush=True)
        except (BotoCoreError, ClientError) as error:
            raise ValueError(f"AWS must do what {path} needs, but says: {' '.join(str(error).split())}") from error
    return 0


def _token(path: Path) -> str:
    if path.exists():
        return f"found   token     {path}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
    return f"made    token     {path}: who has it may run code on the cluster"


def _require_names(path: Path, config: Mapping[str, Any]) -> None:
    """ValueError where a bucket has no name yet, or the policies have another than the file."""
    for one in (path, *(POLICIES / f"{who}-policy.json" for who in ("head", "worker"))):
        if PLACEHOLDER in one.read_text():
            raise ValueError(
                f"The bucket must have a name of your own, but {one} has {PLACEHOLDER}-study: "
                f"sed -i s/{PLACEHOLDER}-study/NAME/ {path} cluster/*-policy.json"
            )
    name = _bucket(config)
    for who in ("head", "worker"):
        if f'"arn:aws:s3:::{name}/*"' not in (POLICIES / f"{who}-policy.json").read_text():
            raise ValueError(f"cluster/{who}-policy.json must be about the bucket {name} of {path}, but is not.")


def _bucket(config: Mapping[str, Any]) -> str:
    return _said(config, r"mlflow\.sh \S+ s3://([^/\s]+)", "the bucket of MLflow's artifacts")


def _said(config: Mapping[str, Any], pattern: str, what: str) -> str:
    for command in config["head_setup_commands"]:
        if found := re.search(pattern, command):
            return found[1]
    raise ValueError(f"`head_setup_commands` must name {what}, but do not.")


def _account(config: Mapping[str, Any]) -> Iterator[str]:
    """Bucket, volume, profiles, quotas: a line for each that says whether it was there."""
    import boto3

    provider, nodes = config["provider"], config["available_node_types"]
    region, zone = provider["region"], provider["availability_zone"].split(",")[0].strip()
    session = boto3.Session(region_name=region)
    yield _made_bucket(session.client("s3"), _bucket(config), region)
    volume = _said(config, r"volume\.sh (\S+)", "the volume")
    yield _made_volume(session.client("ec2"), volume, zone)
    iam = session.client("iam")
    for name, node in nodes.items():
        who = "head" if name == config["head_node_type"] else "worker"
        yield _made_profile(iam, node["node_config"]["IamInstanceProfile"]["Name"], who)
    if any("InstanceMarketOptions" in node["node_config"] for node in nodes.values()):
        yield _made_spot_role(iam)
    yield from _quotas(session, config)


def _made_bucket(s3: Any, name: str, region: str) -> str:
    from botocore.exceptions import ClientError

    try:
        s3.head_bucket(Bucket=name)
        return f"found   bucket    s3://{name}"
    except ClientError as error:
        if error.response["Error"]["Code"] == "403":
            raise ValueError(f"The bucket {name} must be yours, but is somebody else's: take another name.") from error
        if error.response["Error"]["Code"] != "404":
            raise
    where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    s3.create_bucket(Bucket=name, **where)
    return f"made    bucket    s3://{name}, in {region}"


def _made_volume(ec2: Any, name: str, zone: str) -> str:
    mine = {"tag:study": [name], "availability-zone": [zone], "status": ["creating", "available", "in-use"]}
    filters = [{"Name": key, "Values": values} for key, values in mine.items()]
    if found := [volume["VolumeId"] for volume in ec2.describe_volumes(Filters=filters)["Volumes"]]:
        if len(found) > 1:
            raise ValueError(f"One volume in {zone} must have the tag study={name}, but there are {', '.join(found)}.")
        return f"found   volume    {found[0]}, study={name}, in {zone}"
    tags = [{"ResourceType": "volume", "Tags": [{"Key": "study", "Value": name}]}]
    made = ec2.create_volume(
        AvailabilityZone=zone, Size=VOLUME_GB, VolumeType="gp3", Encrypted=True, TagSpecifications=tags
    )
    return f"made    volume    {made['VolumeId']}, study={name}, {VOLUME_GB} GB, in {zone}"


def _made_profile(iam: Any, name: str, who: str) -> str:
    """A role and an instance profile of one name; the policy is that of the checkout, whatever it was before."""
    made = False
    try:
        iam.get_role(RoleName=name)
    except iam.exceptions.NoSuchEntityException:
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
        made = True
    iam.put_role_policy(RoleName=name, PolicyName="study", PolicyDocument=(POLICIES / f"{who}-policy.json").read_text())
    try:
        profile = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
    except iam.exceptions.NoSuchEntityException:
        profile = iam.create_instance_profile(InstanceProfileName=name)["InstanceProfile"]
        made = True
    if not profile["Roles"]:
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    return f"{'made' if made else 'found':<7} profile   {name}, with cluster/{who}-policy.json"


def _made_spot_role(iam: Any) -> str:
    from botocore.exceptions import ClientError

    try:
        iam.create_service_linked_role(AWSServiceName="spot.amazonaws.com")
        return "made    role      by which EC2 starts spot instances"
    except ClientError as error:
        if "has been taken" not in str(error) and error.response["Error"]["Code"] != "EntityAlreadyExists":
            raise
        return "found   role      by which EC2 starts spot instances"


def _quotas(session: Any, config: Mapping[str, Any]) -> Iterator[str]:
    """What AWS lets the account start of the workers' types, against what the file may ask for."""
    from botocore.exceptions import ClientError

    ec2, quotas = session.client("ec2"), session.client("service-quotas")
    for name, node in config["available_node_types"].items():
        kind = node["node_config"]["InstanceType"]
        codes = QUOTAS.get(re.match(r"[a-z]+", kind)[0])  # type: ignore[index]
        if name == config["head_node_type"] or codes is None:
            continue
        code = codes["InstanceMarketOptions" in node["node_config"]]
        (described,) = ec2.describe_instance_types(InstanceTypes=[kind])["InstanceTypes"]
        needed = described["VCpuInfo"]["DefaultVCpus"] * node.get("max_workers", config["max_workers"])
        try:
            quota = quotas.get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]
        except ClientError as error:  # who may not ask may still start machines
            yield f"UNKNOWN quota     {name} takes up to {needed} vCPUs, and AWS says: {error}"
            continue
        if quota["Value"] >= needed:
            yield f"found   quota     {quota['Value']:g} vCPUs of {quota['QuotaName']}; {name} takes up to {needed}"
        else:
            yield (
                f"MISSING quota     {quota['Value']:g} vCPUs of {quota['QuotaName']}, but {name} takes up to {needed}: "
                f"aws service-quotas request-service-quota-increase --service-code ec2 --quota-code {code} "
                f"--desired-value {needed}"
            )
